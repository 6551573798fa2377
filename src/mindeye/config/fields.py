"""Fields of a dataclass by dotted name: what they are for, and how text becomes their values.

The one place where flags, ``field=value`` words and YAML meet a dataclass: name, type and default
come from it, the help text from its docstring.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from docstring_parser import parse as parse_docstring

from mindeye.config.bounds import (
    FieldError,
    allowed_names,
    base_type,
    check_value,
    quoted,
    typed_fields,
)
from mindeye.errors import ConfigError

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Field:
    """A field that holds a value, not other fields.

    Parameters
    ----------
    name
        Dotted name within the outermost dataclass.
    hint
        Annotation, bounds included.
    default
        Default value, `dataclasses.MISSING` where the field has none.
    doc
        Description of the field from the docstring of its class, on one line.
    """

    name: str
    hint: Any
    default: Any
    doc: str


@lru_cache
def field_docs(cls: type) -> dict[str, str]:
    """Return the doc line of every field of a dataclass, those it inherits included."""
    docs = [parse_docstring(c.__doc__ or "") for c in reversed(cls.__mro__)]
    params = [param for doc in docs for param in doc.params]
    return {
        name: " ".join((param.description or "").split())
        for param in params
        for name in param.arg_name.split(", ")
    }


def fields_of(cls: type, prefix: str = "") -> Iterator[Field]:
    """Yield every field of a dataclass that holds a value, with those of dataclasses within it."""
    docs = field_docs(cls)
    for field in dataclasses.fields(cls):
        name, hint = f"{prefix}{field.name}", typed_fields(cls)[field.name]
        if dataclasses.is_dataclass(base_type(hint)):
            yield from fields_of(base_type(hint), f"{name}.")
        else:
            yield Field(name, hint, field.default, docs.get(field.name, ""))


def flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested fields."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def convert(name: str, hint: Any, value: Any) -> Any:
    """Return a value of a field, checked; text becomes a number or truth value where one is due.

    Raises
    ------
    FieldError
        If it is of another type or out of bounds; names the field.
    """
    kind = base_type(hint)
    inner = [k for k in get_args(kind) if k is not type(None)]
    if get_origin(kind) is tuple:
        return _several(name, get_args(kind), value)
    if kind is Path or (get_origin(kind) is not None and Path in inner):
        return Path(value) if isinstance(value, str) else value
    if type(None) in get_args(kind) and len(inner) == 1:
        return None if value is None else convert(name, inner[0], value)
    if allowed_names(hint) is None and kind in (int, float, bool) and isinstance(value, str):
        value = _number(value, kind)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else float("inf")
    check_value(name, hint, value)
    return value


def _several(name: str, kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """Return the values of a tuple; ``[4,64,64]`` may be written as one word."""
    if isinstance(value, (list, tuple)) and len(value) == 1 and str(value[0]).startswith("["):
        value = yaml.safe_load(value[0])
    if not isinstance(value, (list, tuple)):
        raise FieldError(name, f"is {quoted(value)}; it must be a list")
    each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else list(kinds)
    if len(each) != len(value):
        raise FieldError(name, f"is {quoted(value)}; it must be {len(each)} values")
    return tuple(convert(name, kind, item) for kind, item in zip(each, value, strict=True))


def _number(text: str, kind: type) -> Any:
    """Read a number or truth value from text, which comes back where it is neither."""
    try:
        # YAML takes 1e-4, without a point, for text.
        return float(text) if kind is float else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def build(
    cls: type[C], values: Mapping[str, Any], *, name: Callable[[str], str] = str, what: str = ""
) -> C:
    """Make a dataclass from values by dotted name.

    Parameters
    ----------
    cls
        A dataclass, with others in it or not.
    values
        Values by dotted name, text where they come from a command line; others keep their default.
    name
        Turns a dotted name into what the user calls it, for errors.
    what
        What has these fields, for errors; by default the name of the class.

    Raises
    ------
    ConfigError
        If a field is unknown, ill-typed or out of bounds, or fields contradict each other.
    """
    known = {field.name: field for field in fields_of(cls)}
    for given in values:
        if given not in known:
            problem = _no_such(given, list(known), name)
            raise ConfigError(f"{what or cls.__name__} has no field {problem}")
    checked = {n: convert(name(n), known[n].hint, value) for n, value in values.items()}
    return _assembled(cls, checked, "", name)


def _assembled(
    cls: type[C], values: Mapping[str, Any], prefix: str, name: Callable[[str], str]
) -> C:
    given: dict[str, Any] = {}
    for field, hint in typed_fields(cls).items():
        dotted = f"{prefix}{field}"
        if dataclasses.is_dataclass(base_type(hint)):
            given[field] = _assembled(base_type(hint), values, f"{dotted}.", name)
        elif dotted in values:
            given[field] = values[dotted]
    try:
        return cls(**given)
    except FieldError as error:
        field = error.field.rpartition(".")[2]
        raise FieldError(name(f"{prefix}{field}"), error.problem) from error


def _no_such(given: str, known: list[str], name: Callable[[str], str]) -> str:
    inner = [field for field in known if field.startswith(f"{given}.")]
    if inner:
        return f"{name(given)!r} that holds a value; set one in it, like {name(inner[0])}"
    close = closest(given, known, cutoff=0.5)
    hint = f"did you mean {name(close)}?" if close else "`mindeye run --help fields` lists all"
    return f"{name(given)!r}; {hint}"


def closest(word: str, known: list[str], *, cutoff: float = 0.6) -> str:
    """Return the known word that is most like a misspelt one, empty where none is."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), "")
