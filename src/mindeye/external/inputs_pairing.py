"""Which reconstruction belongs to which stimulus, and at which size the two meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mindeye.errors import DataError
from mindeye.external.inputs_pictures import Pictures

PUBLISHED_SIDE = 256
"""Side to which the authors' evaluation script brings both sets of pictures before every metric
(``imsize = 256`` in Reconstruction_Metrics of their repository)."""

_ASPECT = math.log(1.02)
"""Proportions that differ by less are the same: rounding of odd sides."""
_LISTED = 3


class Pairing(NamedTuple):
    """Row of the reconstruction of every stimulus, and the sentence that says how it was found."""

    rows: tuple[int, ...]
    said: str


class Meeting(NamedTuple):
    """Size (height, width) at which pictures are handed on, None for their own.

    Attributes
    ----------
    stimuli, pictures
        Of the stimuli and of the reconstructions.
    antialias
        How they get there, see `Pictures.images`.
    said
        What that does, a sentence each.
    """

    stimuli: tuple[int, int] | None
    pictures: tuple[int, int] | None
    antialias: bool
    said: tuple[str, ...]


def pair(stimuli: Pictures, pictures: Pictures) -> Pairing:
    """Pair by file name where names agree, else in order, and say which.

    Raises
    ------
    DataError
        If the counts differ, or some names agree and others do not.
    """
    if stimuli.named and pictures.named:
        rows = {name: row for row, name in enumerate(pictures.names)}
        lacking = [name for name in stimuli.names if name not in rows]
        if len(lacking) < len(stimuli):
            extra = sorted(set(pictures.names) - set(stimuli.names))
            if lacking or extra:
                raise DataError(_half(stimuli, pictures, lacking, extra))
            return Pairing(
                tuple(rows[name] for name in stimuli.names),
                f"{pictures.path}: paired with the stimuli by file name",
            )
    if len(stimuli) != len(pictures):
        raise DataError(
            f"{pictures.path} holds {len(pictures)} pictures, {stimuli.path} {len(stimuli)} "
            "stimuli; every stimulus needs its reconstruction"
        )
    order = "in the order of their rows"
    if stimuli.named or pictures.named:
        order = f"in natural order, {pictures.names[0]} with {stimuli.names[0]} and so on"
        if stimuli.named and pictures.named:
            order += " (no file name agrees)"
    return Pairing(tuple(range(len(pictures))), f"{pictures.path}: paired with the stimuli {order}")


def _half(
    stimuli: Pictures, pictures: Pictures, lacking: Sequence[str], extra: Sequence[str]
) -> str:
    parts = []
    if lacking:
        some = ", ".join(lacking[:_LISTED])
        parts.append(f"{len(lacking)} stimuli have no picture in {pictures.path} (first {some})")
    if extra:
        some = ", ".join(extra[:_LISTED])
        parts.append(f"{len(extra)} pictures have no stimulus in {stimuli.path} (first {some})")
    return f"some file names agree and some do not: {' and '.join(parts)}; complete or rename them"


def meet(
    stimuli: Pictures, pictures: Pictures, rows: Sequence[int], *, size: int, published: bool
) -> Meeting:
    """Choose the size at which pictures are handed to the metrics.

    Pixel metrics and networks resize by themselves, so pictures keep their own size where they
    have one; the exceptions are said.

    Parameters
    ----------
    stimuli, pictures
        What is compared.
    rows
        Row of the reconstruction of every stimulus.
    size
        Side at which pixel metrics compare, 0 for the stimuli's own.
    published
        Bring everything to `PUBLISHED_SIDE` first, without antialiasing.

    Raises
    ------
    DataError
        If a reconstruction has other proportions than its stimulus, or sizes are mixed and there
        is none to bring them to.
    """
    for row, other in enumerate(rows):
        check_proportions(stimuli, row, pictures, other)
    one, two = stimuli.one_size, pictures.one_size
    said = [_sizes(stimuli), _sizes(pictures)]
    if any(h != w for h, w in (*stimuli.sizes, *pictures.sizes)):
        said.append("pictures that are not square are squeezed to squares alike by the metrics")
    if published:
        side = (PUBLISHED_SIDE, PUBLISHED_SIDE)
        said.append(f"as published: both are brought to {side[0]} px first, without antialiasing")
        return Meeting(side, side, False, tuple(said))
    if one is None and not size:
        raise DataError(f"the pictures of {stimuli.path} have several sizes; say which by --size")
    square = (size, size)
    to_stimuli, to_pictures = None if one else square, None if two else (one or square)
    if not size and two != one:
        to_pictures = one
    for path, target in ((stimuli.path, to_stimuli), (pictures.path, to_pictures)):
        if target:
            said.append(f"{path}: resized to {target[0]} x {target[1]}, bicubic with antialiasing")
    return Meeting(to_stimuli, to_pictures, True, tuple(said))


def check_proportions(stimuli: Pictures, row: int, pictures: Pictures, other: int) -> None:
    """Refuse to compare a picture with one of other proportions: one would be distorted.

    Raises
    ------
    DataError
        Naming both.
    """
    (h, w), (height, width) = stimuli.sizes[row], pictures.sizes[other]
    if abs(math.log(h / w) - math.log(height / width)) > _ASPECT:
        raise DataError(
            f"picture {pictures.names[other]} of {pictures.path} is {height} x {width}, stimulus "
            f"{stimuli.names[row]} is {h} x {w}: other proportions; crop both to what was shown"
        )


def _sizes(pictures: Pictures) -> str:
    heights = sorted(set(pictures.sizes))
    size = f"{heights[0][0]} x {heights[0][1]}"
    if len(heights) > 1:
        size = f"{len(heights)} sizes from {size} to {heights[-1][0]} x {heights[-1][1]}"
    noun = "picture" if len(pictures) == 1 else "pictures"
    return f"{pictures.path}: {len(pictures)} {noun}, {size}"
