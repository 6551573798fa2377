"""Pictures of the page: which stimuli are shown, and images as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.reporting.data import ReportData
from mindeye.reporting.names import system_name

_LARGEST = 256
_LARGEST_IN_STRIP = 128
_SMALLEST_SMOOTH = 48
_LARGEST_PNG = 96
_STRIP_LENGTH = 8


@dataclass(frozen=True)
class Picture:
    """One picture: its data, its label, and whether it is the truth."""

    uri: str
    alt: str
    pixelated: bool
    is_truth: bool = False


@dataclass(frozen=True)
class Line:
    """One stimulus: its label, rank (if any), and pictures in the order of the columns."""

    stimulus: str
    rank: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Best, median or worst stimuli."""

    name: str
    lines: Sequence[Line]


def selected_by_rank(ranks: NDArray[Any], per_group: int) -> dict[str, NDArray[np.int64]]:
    """Choose stimuli by rank alone: the first, the middle and the last of the sorted list.

    Ties are broken by the order of the stimuli. With few stimuli the groups shrink so that
    none overlaps another.

    Parameters
    ----------
    ranks : array (S,)
        0-based ranks.
    per_group : int
        Largest number of stimuli in a group.

    Returns
    -------
    dict
        ``Best``, ``Median``, ``Worst`` to stimulus indices in order of rank.
    """
    order = np.argsort(np.asarray(ranks, dtype=np.float64), kind="stable")
    n = len(order)
    if n < 3:
        return {"Best": order}
    k = min(per_group, n // 3)
    middle = (n - k) // 2
    return {"Best": order[:k], "Median": order[middle : middle + k], "Worst": order[n - k :]}


def stimuli_on_page(data: ReportData) -> dict[str, NDArray[np.int64]]:
    """Stimuli on the page by group: chosen by rank, or the first ones where there are no ranks."""
    if data.ranks is None:
        return {"First": np.arange(min(3 * data.per_group, len(data.seen)))}
    return selected_by_rank(data.ranks, data.per_group)


def reconstruction_groups(data: ReportData) -> list[Group]:
    """Seen picture and every system's reconstruction of the stimuli on the page."""
    columns = {"seen": data.seen, **data.pictures}
    return [
        Group(
            name,
            [
                _line(
                    data,
                    i,
                    [
                        picture(images[i], f"{system_name(system)}: stimulus {_label(data, i)}")
                        for system, images in columns.items()
                    ],
                )
                for i in indices
            ],
        )
        for name, indices in stimuli_on_page(data).items()
    ]


def retrieval_groups(data: ReportData) -> list[Group]:
    """Seen picture and the gallery pictures nearest to its brain embedding."""
    if data.retrieved is None:
        return []
    gallery = data.seen if data.gallery is None else data.gallery
    truth = np.arange(len(data.seen)) if data.truth is None else np.asarray(data.truth)
    groups = []
    for name, indices in stimuli_on_page(data).items():
        lines = []
        for i in indices:
            matches = np.asarray(data.retrieved)[i, :_STRIP_LENGTH]
            strip = [
                picture(
                    gallery[match],
                    f"match {place}" + (", the picture seen" if match == truth[i] else ""),
                    largest=_LARGEST_IN_STRIP,
                    is_truth=bool(match == truth[i]),
                )
                for place, match in enumerate(matches)
            ]
            found = any(p.is_truth for p in strip)
            note = "" if found else f"not among the first {len(matches)}"
            query = picture(data.seen[i], f"Seen: stimulus {_label(data, i)}")
            lines.append(_line(data, i, [query, *strip], note))
        groups.append(Group(name, lines))
    return groups


def picture(
    image: NDArray[np.uint8], alt: str, *, largest: int = _LARGEST, is_truth: bool = False
) -> Picture:
    """Encode an image (H, W, 3), (H, W, 1) or (H, W) as a data URI.

    Small images stay lossless PNG; larger ones are reduced to what the page can show.
    """
    from PIL import Image

    pixels = np.ascontiguousarray(image[..., 0] if image.shape[2:] == (1,) else image)
    drawn = Image.fromarray(pixels)
    if max(drawn.size) > largest:
        drawn.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    file, kind = io.BytesIO(), "png"
    if max(drawn.size) <= _LARGEST_PNG:
        drawn.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        drawn.save(file, "JPEG", quality=92, subsampling=0)
    code = base64.b64encode(file.getvalue()).decode("ascii")
    pixelated = max(image.shape[:2]) < _SMALLEST_SMOOTH
    return Picture(f"data:image/{kind};base64,{code}", alt, pixelated, is_truth)


def _line(data: ReportData, i: int, pictures: Sequence[Picture], note: str = "") -> Line:
    rank = "" if data.ranks is None else f"{float(data.ranks[i]):g}"
    return Line(_label(data, i), rank, pictures, note)


def _label(data: ReportData, i: int) -> str:
    return str(i if data.stimulus_ids is None else data.stimulus_ids[i])
