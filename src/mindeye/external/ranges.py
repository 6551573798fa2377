"""In which range the numbers of an array are: taken where that is certain, refused elsewhere.

Pictures reach us as 0..255, 0..1 or -1..1. Taking one for another gives numbers that look like
scores, so that only bytes and floats within 0..1 are taken without being told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.external.pictures import Reading
from mindeye.progress import track

ENDS = {"0..1": (0.0, 1.0), "0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0)}
"""Black and white of every range."""

OVERSHOOT = 0.05
"""Share of a range by which values may leave it, after a resize or in half precision; they are
clipped, and a note says so. Our own choice."""

_LONG = 500


def find_range(path: Path, images: NDArray[Any], reading: Reading) -> tuple[str, str]:
    """Find the range of an array's values.

    Parameters
    ----------
    path
        File of the array, for messages.
    images
        Pictures, one a row (N, ...).
    reading
        What the user stated about the range.

    Returns
    -------
    tuple of str
        Name of the range, and the sentence that describes it; empty for plain bytes.

    Raises
    ------
    DataError
        If a value is not finite, the values do not fit the stated range, or none is stated and
        they are neither bytes nor floats within 0..1.
    """
    dtype = images.dtype
    if dtype.kind == "b":
        return "0..1", ""
    low, high, whole = _extent(path, images)
    span = f"{path}: values from {low:.4g} to {high:.4g} ({dtype})"
    if reading.range != "auto":
        if not _fits(reading.range, low, high):
            raise DataError(f"{span} are not in {reading.range}; correct {reading.flag}")
        name, how = reading.range, f"as {reading.flag} says"
    elif whole and low >= 0 and high <= 1:
        raise DataError(
            f"{span}, whole numbers only, are black and white pictures or nearly black ones of "
            f"0..255; say which with {reading.flag} 0..1 or {reading.flag} 0..255"
        )
    elif dtype == np.uint8:
        return "0..255", ""
    elif dtype.kind == "f" and _fits("0..1", low, high):
        name, how = "0..1", "detected"
    else:
        raise DataError(
            f"{span} are neither bytes nor floats in 0..1; state their range with {reading.flag} "
            f"0..1, {reading.flag} 0..255 or {reading.flag} -1..1 (latents and normalised values "
            "are no pictures)"
        )
    black, white = ENDS[name]
    clipped = "" if black <= low <= high <= white else "; what lies outside is clipped"
    return name, f"{span} read as {name}, {how}{clipped}"


def _fits(name: str, low: float, high: float) -> bool:
    black, white = ENDS[name]
    margin = OVERSHOOT * (white - black)
    return black - margin <= low and high <= white + margin


def _extent(path: Path, images: NDArray[Any]) -> tuple[float, float, bool]:
    """Look through all values once, of bytes only until one is above 1."""
    low, high, whole = np.inf, -np.inf, True
    for row in track(range(len(images)), "looking", shown=len(images) > _LONG):
        values = images[row]
        least, most = float(values.min()), float(values.max())
        if not np.isfinite([least, most]).all():
            raise DataError(
                f"{path}: picture {row} holds NaN or infinity in "
                f"{int((~np.isfinite(values)).sum())} of {values.size} values"
            )
        low, high = min(low, least), max(high, most)
        if images.dtype == np.uint8 and high > 1:
            return 0.0, 255.0, True
        whole = whole and bool((values == np.round(values)).all())
    return low, high, whole


def to_unit(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Bring values of a range to [0, 1], clipped; the same bits for uint8 and its float copies."""
    black, white = ENDS[name]
    scaled = np.array(values, dtype=np.float32)
    if black:
        scaled -= np.float32(black)
    if white - black != 1:
        scaled /= np.float32(white - black)
    return np.clip(scaled, 0, 1, out=scaled)
