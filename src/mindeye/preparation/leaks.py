"""Leaks between splits: stimuli and copies of pictures.

Copies are found that were recompressed (JPEG quality 50 and up, pictures of 64 pixels and up),
resized, mirrored left to right, or made up to a tenth brighter or a sixth darker. Crops,
rotations, other photographs of one scene and pictures edited in a small part are not found;
neither are copies in another colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.data.splits import check_disjoint
from mindeye.errors import LeakageError
from mindeye.preparation.picture_features import thumbnails
from mindeye.progress import track

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SIDE, CELLS = 32, 8
BLANK = 2.5
"""Spatial deviation, of 255 levels, under which a picture counts as blank."""
LIKE = 0.92
"""Correlation of thumbnails from which a pair is looked at more closely."""
LARGEST_CELL, LARGEST_RMS, LEVELS = 0.6, 0.25, 4.0
"""What brightness and contrast do not explain, on 8 x 8 cells: at most this share of the picture's
deviation in any cell and in the root mean square; four levels are always allowed. Measured on
3,300 simulated scenes and 700 photographs: distinct pictures differ by .70 and more in some cell,
copies by .58 and less."""
GAIN, BRIGHTER, OTHER_COLOUR = 1.45, 45.0, 15.0
BLOCK, PAIRS = 128, 2048
# A training copy of a test picture goes, so does a val copy of it, and a training copy of val.
DIRECTIONS = (("test", "train"), ("test", "val"), ("val", "train"))


@dataclass(frozen=True)
class DuplicatePair:
    """Two pictures in different splits that are the same.

    Parameters
    ----------
    original, original_split
        The picture to keep: of test, or of val against train.
    copy, copy_split
        The picture to leave out.
    distance
        Root mean square of what brightness and contrast do not explain, as a share of the
        picture's deviation; 0 for the same pixels.
    mirrored
        Whether the copy is mirrored left to right.
    """

    original: str
    original_split: str
    copy: str
    copy_split: str
    distance: float
    mirrored: bool


def check_leaks(
    pictures: NDArray[np.uint8], ids: Sequence[str], splits: Mapping[str, Sequence[str]]
) -> list[DuplicatePair]:
    """Find pictures that are in two splits, under one id or under two.

    Every copy is listed once for each split that it copies from, with its nearest original. Time
    grows with the product of the splits; thumbnails (about 3 kB a picture) are all that is held.

    Parameters
    ----------
    pictures
        Pictures (S, H, W, 3), 0..255; may be memory-mapped.
    ids
        Ids of the S stimuli, in the order of the pictures.
    splits
        Stimulus ids of train, val and test; pictures of none are not looked at.

    Raises
    ------
    LeakageError
        If one stimulus is in two splits.
    """
    check_disjoint(splits)
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
    small = thumbnails(pictures, side=SIDE)
    pairs: list[DuplicatePair] = []
    for kept, copied in DIRECTIONS:
        originals = np.array([row_of[s] for s in splits.get(kept, ())], dtype=np.int64)
        copies = np.array([row_of[s] for s in splits.get(copied, ())], dtype=np.int64)
        nearest = _nearest(small, originals, copies, f"{kept}/{copied}")
        pairs += [
            DuplicatePair(ids[original], kept, ids[copy], copied, distance, mirrored)
            for copy, (distance, original, mirrored) in sorted(nearest.items())
        ]
    return pairs


def duplicates_error(pairs: Sequence[DuplicatePair]) -> LeakageError:
    """Return the error that names the first of some pairs and what can be done about them."""
    first = pairs[0]
    way = ", mirrored" if first.mirrored else ""
    return LeakageError(
        f"picture {first.copy!r} of {first.copy_split} is a copy of {first.original!r} of "
        f"{first.original_split} (distance {first.distance:.3f}{way}; {len(pairs)} such pairs); "
        f"use --duplicates drop to leave the copy in {first.copy_split} out, or --duplicates allow"
    )


def copies_to_drop(pairs: Sequence[DuplicatePair]) -> list[str]:
    """Return the ids of the copies, each once, sorted."""
    return sorted({pair.copy for pair in pairs})


def _nearest(
    small: NDArray[np.uint8], originals: Rows, copies: Rows, name: str
) -> dict[int, tuple[float, int, bool]]:
    """Return the nearest original of every copy: row to (distance, row, mirrored)."""
    found: dict[int, tuple[float, int, bool]] = {}
    if not len(originals) or not len(copies):
        return found
    shapes, blank = _shapes(small[copies])
    blocks = range(0, len(originals), BLOCK)
    shown = len(originals) * len(copies) > 1_000_000
    for start in track(blocks, name, shown=shown):
        rows = originals[start : start + BLOCK]
        for mirrored in (False, True):
            seen = small[rows][:, :, ::-1] if mirrored else small[rows]
            for i, j in _candidates(seen, shapes, blank):
                distance = picture_distance(seen[i], small[copies[j]])
                for k in np.flatnonzero(np.isfinite(distance)):
                    match = (float(distance[k]), int(rows[i[k]]), mirrored)
                    copy = int(copies[j[k]])
                    found[copy] = min(found.get(copy, match), match)
    return found


def _shapes(small: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return thumbnails as vectors (n, D) of length 1, free of mean colour, and which are blank."""
    values = small.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    flat = values.reshape(len(small), -1)
    deviation = flat.std(axis=1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat, deviation < BLANK


def _candidates(
    seen: NDArray[np.uint8], shapes: Floats, blank: NDArray[np.bool_]
) -> Iterator[tuple[Rows, Rows]]:
    """Yield index pairs that correlate, and pairs of blanks, a bounded number at a time."""
    own, own_blank = _shapes(seen)
    like = own @ shapes.T > LIKE
    like |= own_blank[:, None] & blank
    i, j = np.nonzero(like)
    for start in range(0, len(i), PAIRS):
        yield i[start : start + PAIRS], j[start : start + PAIRS]


def picture_distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how far pairs of thumbnails are from being copies; infinite for distinct pictures.

    Parameters
    ----------
    first, second
        Thumbnails (n, side, side, 3), 0..255, side divisible by 8.

    Returns
    -------
    array
        Distance of every pair (n,), see `DuplicatePair`.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = a.mean(axis=(1, 2)), b.mean(axis=(1, 2))
    a, b = a - mean_a[:, None, None], b - mean_b[:, None, None]
    change = mean_b - mean_a
    brighter = change.mean(axis=1)
    colour = np.abs(change - brighter[:, None]).max(axis=1)
    axes = (1, 2, 3)
    size_a, size_b = a.std(axis=axes), b.std(axis=axes)
    larger, smaller = np.maximum(size_a, size_b), np.minimum(size_a, size_b)
    # The one with more contrast is explained by the other, so that order does not matter.
    swap = (size_b > size_a)[:, None, None, None]
    high, low = np.where(swap, b, a), np.where(swap, a, b)
    gain = (high * low).mean(axis=axes) / np.maximum(smaller**2, 1e-9)
    gain = np.where(larger < BLANK, 1.0, gain)
    rest = high - gain[:, None, None, None] * low
    count, side = rest.shape[:2]
    cells = rest.reshape(count, CELLS, side // CELLS, CELLS, side // CELLS, 3).mean(axis=(2, 4))
    scale = np.maximum(larger, BLANK)
    worst, rms = np.abs(cells).max(axis=axes), np.sqrt((cells**2).mean(axis=axes))
    same = (worst <= np.maximum(LARGEST_CELL * scale, LEVELS)) & (rms <= LARGEST_RMS * scale)
    same &= (np.abs(brighter) <= BRIGHTER) & (colour <= OTHER_COLOUR)
    same &= (larger < BLANK) | ((gain > 0) & (larger <= GAIN * smaller))
    return np.where(same, rms / scale, np.inf)
