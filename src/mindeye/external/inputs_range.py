"""Which range the numbers of an array are in: detected and said, or refused, never guessed.

Pictures reach us as 0..255, 0..1 or -1..1. Taking one for another gives numbers that look like
scores, so a range is accepted only if the values leave no doubt; everything else asks for it.
The limits are our own choice, made so that overshoot of a resize or of half precision passes.

Axes: N pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.external.inputs_pictures import Reading

ENDS = {"0..1": (0.0, 1.0), "0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0)}
"""Black and white of every range."""

OVERSHOOT = 0.05
"""Share of a range by which values may leave it; they are clipped, and that is said."""

_BLACK = 0.1
"""A whole set of pictures in 0..1 without one value above this is more likely in another range."""
_DARK = 16.0
"""The same for 0..255."""
_NEGATIVE = -0.5
"""Pictures in -1..1 go below this somewhere; less is neither overshoot nor that range."""


@dataclass(frozen=True)
class Extent:
    """Smallest and largest value of every picture (N,), and whether all values are whole."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    whole: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Return the smallest and largest value of all."""
        return float(self.low.min()), float(self.high.max())


class Range(NamedTuple):
    """A range by name, and the sentence that says how it was found."""

    name: str
    said: str


def find_range(path: Path, extent: Extent, dtype: np.dtype[Any], reading: Reading) -> Range:
    """Return the range of an array's values.

    Parameters
    ----------
    path
        The file, for messages.
    extent
        What its values span.
    dtype
        Its type: whole numbers are never in -1..1.
    reading
        What the user said about the range.

    Raises
    ------
    DataError
        If the values do not fit what was said, fit no range, or fit two.
    """
    low, high = extent.ends
    spans = f"values from {low:.4g} to {high:.4g}"
    name: str = reading.values
    if name != "auto":
        if not _fits(name, low, high):
            raise DataError(f"{path}: {spans} are not in {name}; mend {reading.flag}")
        how = f"as {reading.flag} says"
    else:
        name, how = _detect(path, extent, dtype, reading.flag), "detected"
    clipped = ""
    if not ENDS[name][0] <= low <= high <= ENDS[name][1]:
        clipped = "; what lies outside is clipped"
    return Range(name, f"{path}: {spans} ({dtype}) read as {name}, {how}{clipped}")


def _fits(name: str, low: float, high: float) -> bool:
    black, white = ENDS[name]
    margin = OVERSHOOT * (white - black)
    return black - margin <= low and high <= white + margin


def _detect(path: Path, extent: Extent, dtype: np.dtype[Any], flag: str) -> str:
    low, high = extent.ends
    spans = f"{path}: values from {low:.4g} to {high:.4g}"
    if dtype.kind == "b":
        return "0..1"
    if extent.whole and low >= 0 and high <= 1:
        raise DataError(
            f"{spans}, whole numbers only, are black and white pictures or nearly black ones of "
            f"0..255; say which with {flag} 0..1 or {flag} 0..255"
        )
    if high > _DARK and _fits("0..255", low, high):
        _refuse_mixed(path, extent, flag)
        return "0..255"
    if dtype.kind in "ui":
        raise DataError(f"{spans} ({dtype}) are not in 0..255; convert to uint8, or say {flag}")
    if low <= _NEGATIVE and _fits("-1..1", low, high):
        return "-1..1"
    if high > _BLACK and _fits("0..1", low, high):
        return "0..1"
    if low >= -OVERSHOOT and high <= _DARK:
        what = "are too dark to tell the range by" if high <= 1 else "fit neither 0..1 nor 0..255"
        raise DataError(f"{spans} {what}; say which it is with {flag} 0..1 or {flag} 0..255")
    raise DataError(
        f"{spans} are in none of 0..1, 0..255, -1..1; undo a normalisation by mean and standard "
        f"deviation (latents are no pictures), or say {flag}"
    )


def _refuse_mixed(path: Path, extent: Extent, flag: str) -> None:
    """Pictures of 0..255 among which some were left in 0..1 must not pass as nearly black."""
    if extent.whole:
        return
    small = np.flatnonzero((extent.high <= 1 + OVERSHOOT) & (extent.high > 0))
    if len(small):
        raise DataError(
            f"{path}: picture {small[0]} has no value above {extent.high[small[0]]:.4g}, others "
            f"reach {extent.ends[1]:.4g}: two ranges in one file ({len(small)} such pictures), or "
            f"nearly black ones; if so, say {flag} 0..255"
        )


def to_unit(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Bring values of a range to [0, 1], clipped; the same bits for uint8 and its float copies."""
    black, white = ENDS[name]
    scaled = np.array(values, dtype=np.float32)
    if black:
        scaled -= np.float32(black)
    if white - black != 1:
        scaled /= np.float32(white - black)
    return np.clip(scaled, 0, 1, out=scaled)
