"""From a name of a registry, such as ``pixels:28:4``, to the object that its entry makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mindeye.config.bounds import REGISTRIES
from mindeye.errors import ConfigError


class UnusedOptionError(ConfigError):
    """An option that was asked for and that the entry does not take."""


def make_entry(registry: str, name: str, **options: Any) -> Any:
    """Return the object of a registry's entry.

    Parameters
    ----------
    registry
        Name of the dict in `REGISTRIES`.
    name
        Name of an entry that is there, and after a colon what the object is made of.
    **options
        Given to the entry as far as it takes them.

    Raises
    ------
    ConfigError
        If it cannot be made of what follows the colon.
    """
    head, colon, rest = name.partition(":")
    entry = REGISTRIES[registry][head]
    if not (isinstance(entry, type) or inspect.isroutine(entry)):
        return entry
    return call_with(entry, (rest,) if colon else (), options, name=name)


def call_with(
    entry: Callable[..., Any], parts: Sequence[Any], options: dict[str, Any], *, name: str = ""
) -> Any:
    """Call a class or function with those of the options that it takes.

    Raises
    ------
    UnusedOptionError
        If it does not take `size`, which is only given where somebody asked for it.
    ConfigError
        If it needs other arguments than `parts`.
    """
    signature = inspect.signature(entry)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    taken = {k: v for k, v in options.items() if open_ended or k in signature.parameters}
    if "size" in options and "size" not in taken:
        raise UnusedOptionError(f"{name} takes no size")
    try:
        signature.bind(*parts, **taken)
    except TypeError as error:
        raise ConfigError(f"{name or entry.__name__} cannot be made: {error}") from error
    return entry(*parts, **taken)
