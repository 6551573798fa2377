"""Lists of numbers as people write them: 1-40, 1,3-5, all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mindeye.errors import UsageError


def parse_numbers(text: str, known: Sequence[int], *, what: str) -> list[int]:
    """Return the numbers that a text like ``1-5,7`` or ``all`` chooses among the known ones.

    Raises
    ------
    UsageError
        If the text is malformed or chooses a number that is not known; names both.
    """
    if text.strip() == "all":
        return list(known)
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*", part)
        if match is None:
            raise UsageError(f"{what} {text!r} is not of the form 1-5,7 or all")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"{what} {part.strip()!r} runs backwards")
        numbers.update(range(first, last + 1))
    unknown = sorted(numbers - set(known))
    if unknown:
        raise UsageError(f"{what} {unknown[0]} is not there; there are {spans(known)}")
    return [n for n in known if n in numbers]


def spans(numbers: Sequence[int]) -> str:
    """Return numbers as text, neighbours as a span: [1, 2, 3, 7] to ``1-3,7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
