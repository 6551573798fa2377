"""Bounds of configuration fields: stated in a field's annotation, checked wherever one is made.

``width: Width`` is ``Annotated[int, Bound(1, 2**16)]``: an integer to a type checker, and a range
to `Checked`, the base of all configurations. So a value is refused in the same words whether it
comes from a flag, a YAML file or a constructor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from mindeye.errors import ConfigError

QUOTED = 80
"""Characters of a refused value that a message repeats."""


class FieldError(ConfigError):
    """A value that a field may not have: `field` is its name, `problem` what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class Bound:
    """Range of a finite number.

    Parameters
    ----------
    low, high
        Smallest and largest value. The largest is far above what makes sense: it is there for the
        slip of a finger.
    above, below
        Whether `low` and `high` themselves are excluded.

    Examples
    --------
    >>> Bound(0, 1, below=True).holds(0.5), Bound(0, 1, below=True).holds(1)
    (True, False)
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range; NaN lies in none."""
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def description(self, kind: type) -> str:
        """Say in words what a value must be."""
        if kind is int:
            return f"a whole number from {self.low} to {self.high}"
        left, right = "(" if self.above else "[", ")" if self.below else "]"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Registered:
    """Names that a field may hold: those of a dict that users can add to.

    Parameters
    ----------
    registry
        Name of the dict, which enters itself into `REGISTRIES` where it is defined.
    shipped
        Names in the dict before anybody adds one; they hold while its module is not imported.
    """

    registry: str
    shipped: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names that are known now."""
        return tuple(REGISTRIES.get(self.registry, self.shipped))


REGISTRIES: dict[str, Mapping[str, Any]] = {}
"""Dicts that `Registered` fields take their names from. A configuration is read without importing
networks, so the dicts come here and not the other way round."""

Seed = Annotated[int, Bound(0, 2**32 - 1)]
Epochs = Annotated[int, Bound(1, 10**6)]
Count = Annotated[int, Bound(1, 10**9)]
CountOrZero = Annotated[int, Bound(0, 10**9)]
BatchSize = Annotated[int, Bound(1, 10**6)]
BatchSizeOrZero = Annotated[int, Bound(0, 10**6)]
Width = Annotated[int, Bound(1, 2**16)]
WidthOrZero = Annotated[int, Bound(0, 2**16)]
Depth = Annotated[int, Bound(1, 1000)]
DepthOrZero = Annotated[int, Bound(0, 1000)]
Pixels = Annotated[int, Bound(0, 2**14)]
"""Side of a picture, 0 for its own."""

Share = Annotated[float, Bound(0, 1)]
ShareBelowOne = Annotated[float, Bound(0, 1, below=True)]
ShareAboveZero = Annotated[float, Bound(0, 1, above=True)]
OpenShare = Annotated[float, Bound(0, 1, above=True, below=True)]
Weight = Annotated[float, Bound(0, 1e6)]
"""Weight of a loss, decay, norm: any number that is not negative."""
Rate = Annotated[float, Bound(0, 100)]
Temperature = Annotated[float, Bound(0, 100, above=True)]


class Checked:
    """Base of configurations: every value is of its field's type and within its bounds.

    A frozen dataclass that derives from it states bounds in its annotations; one that also compares
    fields with each other calls ``super().__post_init__()`` first.

    Attributes
    ----------
    section
        Section of a run that holds the fields, like ``high.decoder``; empty for what is not part of
        a run.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Size(Checked):
    ...     width: Width = 64
    >>> Size(width=-5)
    Traceback (most recent call last):
    mindeye.config.bounds.FieldError: width is -5; it must be a whole number from 1 to 65536
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, hint in typed_fields(type(self)).items():
            check_value(self.name_of(name), hint, getattr(self, name))

    @classmethod
    def name_of(cls, field: str) -> str:
        """Return a field's name as a run has it."""
        return f"{cls.section}.{field}" if cls.section else field


def typed_fields(cls: type) -> dict[str, Any]:
    """Return the annotation of every field of a dataclass, bounds included, in order."""
    known: Any = cls
    return _typed_fields(known)


@lru_cache
def _typed_fields(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def base_type(hint: Any) -> Any:
    """Return an annotation without its bounds."""
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def bounds_of(hint: Any) -> list[Bound]:
    """Return the bounds in an annotation."""
    return [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Bound)]


def allowed_names(hint: Any) -> tuple[str, ...] | None:
    """Return the words that a field may hold, None if any value of its type will do."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Registered):
            return part.names
    return None


def check_value(field: str, hint: Any, value: Any) -> None:
    """Refuse a value that is not of its annotation's type or not within its bounds.

    Types that are neither a number, a truth value, text nor a configuration are not looked at.

    Raises
    ------
    FieldError
        Names the field and says what it may be.
    """
    kind, names = base_type(hint), allowed_names(hint)
    if names is not None:
        if value not in names:
            raise FieldError(field, f"is {quoted(value)}; it must be one of {_listed(names)}")
    elif kind in (int, float):
        _check_number(field, kind, bounds_of(hint), value)
    elif (kind in (bool, str) or is_dataclass(kind)) and not isinstance(value, kind):
        word = {bool: "true or false", str: "text"}.get(kind, f"a {kind.__name__}")
        raise FieldError(field, f"is {quoted(value)}; it must be {word}")


def _check_number(field: str, kind: type, bounds: list[Bound], value: Any) -> None:
    number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) or kind is int):
        expected = (
            bounds[0].description(kind) if bounds else "a whole number" if kind is int else "finite"
        )
        raise FieldError(field, f"is {quoted(value)}; it must be {expected}")
    for bound in bounds:
        if not bound.holds(value):
            raise FieldError(field, f"is {quoted(value)}; it must be {bound.description(kind)}")


def quoted(value: Any) -> str:
    """Return a refused value as a message repeats it, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(name or "'' (empty)" for name in names)
