"""Flags of a plain function: names, types and defaults from its signature, help from its docstring.

A parameter by position is a word, one by keyword is a flag; one that is a dataclass stands for the
flags of its fields; ``*fields`` takes ``field=value`` words. What was typed is converted and
checked by `mindeye.config.fields`, as fields of presets are.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from docstring_parser import Docstring
from docstring_parser import parse as parse_docstring

from mindeye.config.bounds import base_type
from mindeye.config.fields import Field, build, closest, convert, fields_of
from mindeye.errors import UsageError

WORD = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class FieldsOf:
    """Marks ``**given`` of a function: flags for the fields of a dataclass, passed where given.

    Parameters
    ----------
    config
        The dataclass.
    skip
        Fields of it that are no flags.
    """

    config: type[Any]
    skip: tuple[str, ...] = ()


class Flag(NamedTuple):
    """A word or flag of a verb: the field it sets, and the parameter that the field is part of."""

    field: Field
    parameter: inspect.Parameter
    config: type[Any] | None = None

    @property
    def is_word(self) -> bool:
        """Whether it is written without a dash."""
        return self.parameter.kind in WORD

    @property
    def name(self) -> str:
        """What the user calls it: ``--batch-size``, or ``preset`` for a word."""
        return self.field.name if self.is_word else flag_of(self.field.name)

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return base_type(self.field.hint) is bool

    @property
    def is_list(self) -> bool:
        """Whether it takes several words."""
        return get_origin(base_type(self.field.hint)) is tuple

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        by_default = self.parameter.default is not inspect.Parameter.empty
        by_name = self.parameter.kind is inspect.Parameter.VAR_KEYWORD
        return self.field.default is MISSING and not by_default and not by_name


def flag_of(field: str) -> str:
    """Return the flag of a field of a dataclass: ``--batch-size`` of ``batch_size``."""
    return f"--{field.rpartition('.')[2].replace('_', '-')}"


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function with its annotations as objects.

    A module that must be imported quickly names heavy types under ``if TYPE_CHECKING``; those that
    the signature needs are imported here.
    """
    names = dict(vars(sys.modules[function.__module__]))
    texts = [t for t in getattr(function, "__annotations__", {}).values() if isinstance(t, str)]
    needed = {n.id for t in texts for n in ast.walk(ast.parse(t)) if isinstance(n, ast.Name)}
    if needed - set(names) and texts:
        for node in _type_checking_imports(sys.modules[function.__module__]):
            for alias in node.names:
                if alias.name in needed and node.module:
                    names[alias.name] = getattr(importlib.import_module(node.module), alias.name)
    return inspect.signature(function, globals=names, eval_str=True)


def _type_checking_imports(module: Any) -> list[ast.ImportFrom]:
    blocks = [
        block for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
    ]  # fmt: skip
    return [node for b in blocks for node in ast.walk(b) if isinstance(node, ast.ImportFrom)]


def flags_of(function: Callable[..., Any]) -> list[Flag]:
    """Return every word and flag that a function takes, in the order of its signature."""
    docs = {p.arg_name: " ".join((p.description or "").split()) for p in doc_of(function).params}
    flags: list[Flag] = []
    for name, parameter in signature_of(function).parameters.items():
        hint = _without_none(parameter.annotation)
        marks = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, FieldsOf)]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            continue
        if marks:
            fields = [f for f in fields_of(marks[0].config) if f.name not in marks[0].skip]
            flags += [Flag(f, parameter, marks[0].config) for f in fields]
        elif dataclasses.is_dataclass(hint):
            flags += [Flag(f, parameter, hint) for f in fields_of(hint)]  # type: ignore[arg-type]
        else:
            empty = parameter.default is inspect.Parameter.empty
            default = MISSING if empty else parameter.default
            flags.append(Flag(Field(name, hint, default, docs.get(name, "")), parameter))
    return flags


def _without_none(hint: Any) -> Any:
    """Return ``X`` of ``X | None`` where X is a dataclass, else the hint as it is."""
    inner = [kind for kind in get_args(hint) if dataclasses.is_dataclass(kind)]
    return inner[0] if type(None) in get_args(hint) and inner else hint


def takes_fields(function: Callable[..., Any]) -> bool:
    """Return whether a function takes ``field=value`` words."""
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def doc_of(function: Callable[..., Any]) -> Docstring:
    """Return the docstring of a function in parts."""
    return parse_docstring(inspect.getdoc(function) or "")


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong instead of ending the process."""

    def error(self, message: str) -> Any:
        raise UsageError(
            message.removeprefix("argument ").replace("the following arguments", "these")
        )


def call(function: Callable[..., Any], words: Sequence[str]) -> Any:
    """Call a function with what its flags and words say.

    Parameters
    ----------
    function
        Plain function, as described above.
    words
        Words of a command line, after the verb.

    Returns
    -------
    object
        What the function returns.

    Raises
    ------
    UsageError
        If a flag is unknown, missing or given without a value, or there is a word too many.
    ConfigError
        If a value is ill-typed or out of bounds; names the flag.
    """
    flags = flags_of(function)
    plain, fields = _sorted(flags, words, takes_fields(function))
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for flag in flags:
        _add(parser, flag)
    given = vars(parser.parse_args(plain))
    positional, keywords = _arguments(function, flags, given)
    return function(*positional, *fields, **keywords)


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    more: dict[str, Any] = {}
    if flag.is_word:
        many = "+" if flag.is_required else "*"
        more["nargs"] = many if flag.is_list else None if flag.is_required else "?"
    else:
        more = {"dest": flag.field.name, "required": flag.is_required}
        if flag.is_switch:
            on = flag.field.default is True
            more["action"] = argparse.BooleanOptionalAction if on else "store_true"
        elif flag.is_list:
            more["nargs"] = "*"
    parser.add_argument(flag.name, **more)


def _arguments(
    function: Callable[..., Any], flags: Sequence[Flag], given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments of a function from what was typed."""
    words: list[Any] = []
    keywords: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    configs: dict[str, type[Any]] = {}
    for flag in flags:
        name = flag.field.name
        is_given = name in given and given[name] is not None
        value = given.get(name)
        value = tuple(value) if isinstance(value, list) else value
        if flag.config is not None:
            part = parts.setdefault(flag.parameter.name, {})
            configs[flag.parameter.name] = flag.config
            if is_given:
                part[name] = value
        elif flag.is_word:
            has_value = is_given and value != ()
            words.append(convert(name, flag.field.hint, value) if has_value else flag.field.default)
        elif is_given:
            keywords[name] = convert(flag.name, flag.field.hint, value)
    for name, values in parts.items():
        parameter = signature_of(function).parameters[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            hints = {flag.field.name: flag.field.hint for flag in flags}
            keywords |= {n: convert(flag_of(n), hints[n], value) for n, value in values.items()}
        elif values or parameter.default is inspect.Parameter.empty:
            keywords[name] = build(configs[name], values, name=flag_of)
    return words, keywords


def _sorted(
    flags: Sequence[Flag], words: Sequence[str], with_fields: bool
) -> tuple[list[str], list[str]]:
    """Separate ``field=value`` words from the others, and join flags with their values."""
    known = {flag.name: flag for flag in flags if not flag.is_word}
    known |= {f"--no-{f.name[2:]}": f for f in known.values() if f.field.default is True}
    plain: list[str] = []
    fields: list[str] = []
    free = [flag for flag in flags if flag.is_word]
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, _ = word.partition("=")
        if word.startswith("--"):
            flag = _flag(name, known)
            if flag is None and with_fields and _may_be_field(name, equals, known):
                fields.append(word[2:] if equals else f"{word[2:]}={left.pop(0) if left else ''}")
            elif flag is None:
                raise UsageError(_unknown(name, list(known)))
            else:
                full = name if name in known else flag.name
                plain.append(f"{full}{word[len(name) :]}")
                if not equals and not flag.is_switch:
                    _take_value(flag, full, plain, left)
        elif with_fields and equals and name.replace(".", "").replace("_", "").isalnum():
            fields.append(word)
        elif free:
            plain.append(word)
            if not free[0].is_list:
                free.pop(0)
        else:
            raise UsageError(_too_many(word, flags, [*plain, *left], with_fields))
    return plain, fields


def _take_value(flag: Flag, name: str, plain: list[str], left: list[str]) -> None:
    """Move the value of a flag over; ``-1..1`` alone would be taken for a flag."""
    if flag.is_list:
        while left and not left[0].startswith("--"):
            plain.append(left.pop(0))
    elif left and not left[0].startswith("--"):
        plain[-1] = f"{name}={left.pop(0)}"
    else:
        raise UsageError(f"{name} needs a value")


def _flag(name: str, known: Mapping[str, Flag]) -> Flag | None:
    """Return the flag of a name or of its beginning, None if there is none or more than one."""
    if name in known:
        return known[name]
    begun = [
        flag for full, flag in known.items() if full.startswith(name) and len(name) > len("--")
    ]
    return begun[0] if len(begun) == 1 else None


def _unknown(name: str, known: list[str]) -> str:
    close = closest(name, known)
    return f"there is no flag {name}" + (f"; did you mean {close}?" if close else "")


def _too_many(word: str, flags: Sequence[Flag], rest: Sequence[str], with_fields: bool) -> str:
    if "=" in word and not with_fields:
        return f"this verb takes no fields of a run; leave out {word}"
    given = {w.partition("=")[0] for w in rest if w.startswith("--")}
    left = [flag for flag in flags if not flag.is_word and flag.name not in given]
    paths = [flag for flag in left if Path in (flag.field.hint, *get_args(flag.field.hint))]
    # The subject is missing more often than a folder to write to.
    meant = sorted(
        [flag for flag in paths if flag.name != "--out"], key=lambda f: not f.is_required
    )
    hint = f"; did you mean {meant[0].name} {word}?" if meant else ""
    return f"{word!r} is a word too many{hint}"


def _may_be_field(name: str, equals: str, known: Mapping[str, Flag]) -> bool:
    """Return whether a word with dashes can be a field of a run, not a misspelt flag."""
    return "." in name or bool(equals and not closest(name, list(known)))
