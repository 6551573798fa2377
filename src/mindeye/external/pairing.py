"""Which reconstruction belongs to which stimulus, and at which size the two are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mindeye.errors import DataError
from mindeye.external.pictures import Pictures

PUBLISHED_SIDE = 256
"""Side to which the authors' evaluation script brings both sets of pictures before every metric
(``imsize = 256`` in Reconstruction_Metrics of their repository)."""

_ASPECT = math.log(1.02)
"""Proportions that differ by less are the same: rounding of odd sides."""


class CommonSize(NamedTuple):
    """How two sets of pictures are brought to sizes that the metrics can compare.

    Attributes
    ----------
    stimuli, pictures
        Height and width to resize the stimuli and the reconstructions to; None keeps their own.
    notes
        What is done, a sentence each.
    """

    stimuli: tuple[int, int] | None
    pictures: tuple[int, int] | None
    notes: tuple[str, ...]


def pair(stimuli: Pictures, pictures: Pictures) -> tuple[list[int], str]:
    """Pair by file name where names agree, else in order, and say which.

    Parameters
    ----------
    stimuli
        Pictures that were shown (S).
    pictures
        Reconstructions, one a stimulus.

    Returns
    -------
    list of int, str
        Row of the reconstruction of every stimulus (S), and the sentence that says how it was
        found.

    Raises
    ------
    DataError
        If the counts differ, or some names agree and others do not.
    """
    by_file = stimuli.named and pictures.named
    if by_file:
        rows = {name: row for row, name in enumerate(pictures.names)}
        lacking = [name for name in stimuli.names if name not in rows]
        extra = sorted(set(pictures.names) - set(stimuli.names))
        if not lacking and not extra:
            note = f"{pictures.path}: paired with the stimuli by file name"
            return [rows[name] for name in stimuli.names], note
        if len(lacking) < len(stimuli):
            raise DataError(_names_agree_in_part(stimuli, pictures, lacking, extra))
    if len(stimuli) != len(pictures):
        raise DataError(
            f"{pictures.path} holds {len(pictures)} pictures, {stimuli.path} {len(stimuli)} "
            "stimuli; every stimulus needs its reconstruction"
        )
    order = "in the order of their rows"
    if stimuli.named or pictures.named:
        order = f"in natural order, {pictures.names[0]} with {stimuli.names[0]} and so on"
        order += " (no file name agrees)" if by_file else ""
    return list(range(len(pictures))), f"{pictures.path}: paired with the stimuli {order}"


def _names_agree_in_part(
    stimuli: Pictures, pictures: Pictures, lacking: Sequence[str], extra: Sequence[str]
) -> str:
    parts = [
        f"{len(names)} {what} in {path} (first {', '.join(names[:3])})"
        for names, what, path in (
            (lacking, "stimuli have no picture", pictures.path),
            (extra, "pictures have no stimulus", stimuli.path),
        )
        if names
    ]
    return f"some file names agree and some do not: {' and '.join(parts)}; complete or rename them"


def common_size(
    stimuli: Pictures, pictures: Pictures, rows: Sequence[int], *, size: int, as_published: bool
) -> CommonSize:
    """Choose the sizes at which pictures are handed to the metrics.

    Pixel metrics and networks resize by themselves, so pictures keep their own size where they
    have one; the exceptions are noted.

    Parameters
    ----------
    stimuli, pictures
        Pictures that were shown, and their reconstructions.
    rows
        Row of the reconstruction of every stimulus (S).
    size
        Side in pixels at which pixel metrics compare, 0 for the stimuli's own.
    as_published
        Whether everything is brought to `PUBLISHED_SIDE` first, without antialiasing.

    Raises
    ------
    DataError
        If a reconstruction has other proportions than its stimulus, or sizes are mixed and there
        is none to bring them to.
    """
    for row, other in enumerate(rows):
        check_proportions(stimuli, row, pictures, other)
    notes = [_sizes(stimuli), _sizes(pictures)]
    if any(h != w for h, w in (*stimuli.sizes, *pictures.sizes)):
        notes.append("pictures that are not square are squeezed to squares alike by the metrics")
    if as_published:
        side = (PUBLISHED_SIDE, PUBLISHED_SIDE)
        notes.append(f"as published: both are brought to {side[0]} px first, without antialiasing")
        return CommonSize(side, side, tuple(notes))
    one, two = stimuli.common_size, pictures.common_size
    if one is None and not size:
        raise DataError(f"the pictures of {stimuli.path} have several sizes; say which by --size")
    square = (size, size)
    to_stimuli = None if one else square
    to_pictures = None if two else (one or square)
    if not size and two != one:
        to_pictures = one
    for path, target in ((stimuli.path, to_stimuli), (pictures.path, to_pictures)):
        if target:
            notes.append(f"{path}: resized to {target[0]} x {target[1]}, bicubic with antialiasing")
    return CommonSize(to_stimuli, to_pictures, tuple(notes))


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
    sizes = sorted(set(pictures.sizes))
    text = f"{sizes[0][0]} x {sizes[0][1]}"
    if len(sizes) > 1:
        text = f"{len(sizes)} sizes from {text} to {sizes[-1][0]} x {sizes[-1][1]}"
    noun = "picture" if len(pictures) == 1 else "pictures"
    return f"{pictures.path}: {len(pictures)} {noun}, {text}"
