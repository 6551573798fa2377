"""The help of a verb: usage, flags, choices and examples from its signature."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING
from typing import Any

from mindeye.commands.data import prepare_verbs
from mindeye.config import RunConfig
from mindeye.config.bounds import allowed_names
from mindeye.config.fields import closest, fields_of
from mindeye.config.flags import Flag, doc_of, flags_of, takes_fields
from mindeye.config.settings import shipped_names, shipped_path
from mindeye.errors import UsageError

Verb = Callable[..., Any]


def headline(verb: Verb) -> str:
    """Return what a verb does, in one line."""
    return (doc_of(verb).short_description or "").replace("\n", " ").rstrip(".")


def help_of(name: str, verb: Verb, topic: str = "") -> str:
    """Return the help of a verb.

    Parameters
    ----------
    name
        The whole command, like ``mindeye run``.
    verb
        The function that the command calls.
    topic
        Selection of fields, for a verb that takes fields of a run: ``fields`` for all of them, or
        the beginning of a name, like ``high.optim``, for those.
    """
    if topic and takes_fields(verb):
        return "\n".join(_field_lines("" if topic == "fields" else topic))
    doc, flags = doc_of(verb), flags_of(verb)
    text = (doc.long_description or "").partition("\nParameters")[0]
    lines = [_usage(name, verb, flags), "", *_wrapped(headline(verb) + ".")]
    lines += [part for p in text.split("\n\n") if p for part in ("", *_wrapped(p))]
    for title, listed in _by_heading(flags):
        lines += ["", f"{title}:", *[line for flag in listed for line in _flag_lines(flag)]]
    lines += [*_choices(name, flags), *(_sections(name) if takes_fields(verb) else [])]
    examples = examples_of(verb)
    if examples:
        lines += ["", "examples:", *[f"  {line}" for line in examples]]
    return "\n".join(lines)


def examples_of(verb: Verb) -> list[str]:
    """Return the command lines in the Examples of a verb's docstring."""
    return re.findall(r"^\s*\$ (.+)$", verb.__doc__ or "", re.MULTILINE)


def _usage(name: str, verb: Verb, flags: Sequence[Flag]) -> str:
    parts = [name]
    for flag in flags:
        if flag.is_word:
            shown = flag.name.upper() + (" ..." if flag.is_list else "")
            parts.append(shown if flag.is_required else f"[{shown}]")
    options = [flag for flag in flags if not flag.is_word]
    parts += [f"{flag.name} {_value(flag)}" for flag in options if flag.is_required]
    parts += [] if all(flag.is_required for flag in options) else ["[flags]"]
    parts += ["[field=value ...]"] if takes_fields(verb) else []
    return f"usage: {' '.join(parts)}"


def _value(flag: Flag) -> str:
    """Return what stands for a flag's value in the help."""
    if flag.is_switch:
        return ""
    word = flag.field.name.rpartition(".")[2].upper().replace("_", "-")
    return f"{word} ..." if flag.is_list else word


def _by_heading(flags: Sequence[Flag]) -> Iterator[tuple[str, list[Flag]]]:
    """Yield groups of flags with a title, the required ones first."""
    words = [flag for flag in flags if flag.is_word]
    required = [flag for flag in flags if flag.is_required and flag not in words]
    rest = [flag for flag in flags if flag not in words and flag not in required]
    groups = {
        "words": words,
        "needed": required,
        "flags": [flag for flag in rest if flag.config is None],
    }
    for config in dict.fromkeys(flag.config for flag in rest if flag.config):
        listed = [flag for flag in rest if flag.config is config]
        groups[(config.__doc__ or "").partition("\n")[0].rstrip(".").lower()] = listed
    yield from ((title, listed) for title, listed in groups.items() if listed)


def _flag_lines(flag: Flag) -> list[str]:
    default = flag.field.default
    text, names = flag.field.doc.rstrip("."), allowed_names(flag.field.hint)
    if names and not all(name in text for name in names):
        text += f" ({', '.join(name for name in names if name)})"
    if default not in (MISSING, None, "", ()) and not isinstance(default, bool):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text += f" [{shown}]"
    name = f"--no-{flag.name[2:]}" if flag.is_switch and default is True else flag.name
    return [f"  {name} {'' if flag.is_word else _value(flag)}".rstrip(), *_wrapped(text, 6)]


def _wrapped(text: str, indent: int = 0) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        " ".join(text.split()), 96, initial_indent=space, subsequent_indent=space,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _choices(name: str, flags: Sequence[Flag]) -> list[str]:
    """Return what a verb's first word can be: presets, plans, sources."""
    lists = {"preset": ("presets", "presets"), "plan": ("plans", "presets/ablations")}
    if name == "mindeye prepare":
        verbs = prepare_verbs()
        found = [(verb.split()[1], headline(function)) for verb, function in verbs.items()]
        return ["", "sources:", *[f"  {source:<16} {text}" for source, text in found]]
    for word in [flag.name for flag in flags if flag.name in lists]:
        title, folder = lists[word]
        shipped = shipped_names(folder)
        lines = [f"  {n:<18} {_comment(n, folder)}" for n in shipped]
        return ["", f"{title}:", *lines]
    return []


def _comment(name: str, folder: str) -> str:
    """Return the first sentence of the comment that a shipped YAML file begins with."""
    path = shipped_path(name, folder, what="file", known="files")
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines[:4] if line.startswith("#"))
    sentence = re.split(r"(?<=[a-z0-9)])[.;:] ", comment)[0].rstrip(".")
    return sentence if len(sentence) <= 80 else f"{sentence[:76].rpartition(' ')[0]} ..."


def _sections(name: str) -> list[str]:
    """Return what parts the fields of a run have, and how to list them."""
    counts: dict[str, int] = {}
    for field in fields_of(RunConfig):
        section = field.name.rpartition(".")[0] or "(top)"
        counts[section] = counts.get(section, 0) + 1
    listed = ", ".join(f"{section} {count}" for section, count in counts.items())
    return [
        "",
        "fields, as high.optim.epochs=80, with or without dashes:",
        *_wrapped(listed, 2),
        f"  `{name} --help fields` explains them all, `--help high.optim` those of a part",
    ]


def _field_lines(topic: str) -> list[str]:
    fields = [field for field in fields_of(RunConfig) if field.name.startswith(topic)]
    if not fields:
        names = [field.name for field in fields_of(RunConfig)]
        close = closest(topic, [*{name.rpartition(".")[0] for name in names}, *names])
        meant = f"; did you mean {close}?" if close else ""
        raise UsageError(f"a run has no field {topic!r}{meant}")
    lines = ["fields of a run, given as field=value:"]
    for field in fields:
        lines += [f"  {field.name}={field.default}", *_wrapped(field.doc, 6)]
    return lines
