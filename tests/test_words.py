"""Docstrings speak the field's language: a parameter's text is a phrase that stands alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import mindeye

SOURCE = Path(mindeye.__file__).parent
FRAGMENT = re.compile(
    r"^(Of|Whose|That|To|As|See|By|For|In|On|From|With|Where|What it|It|They|Is|Are|Its?)\b"
    r"|^\S+\.?$"
)
"""Texts that lean on the function's name or on other parameters."""
PLACES = ("Where to", "What to", "Which")
DIALECT = re.compile(
    r"\b(paging|descent|descend|seal(ed|s)?|judge[sd]?|rung|stand[_-]ins?|stand ins"
    r"|outsiders?|recheck|team)\b",
    re.IGNORECASE,
)


def _docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every docstring."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text:
                    name = getattr(node, "name", "")
                    yield f"{path.relative_to(SOURCE)}:{name}", text


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the parameters, attributes and fields of a docstring."""
    for section in re.findall(
        r"^(?:Parameters|Attributes)\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", text, re.M | re.S
    ):
        for name, body in re.findall(r"^(\S[^\n]*)\n((?:[ ]{4}[^\n]*\n?|\n)+)", section, re.M):
            yield name, " ".join(body.split())


def test_texts_of_parameters_stand_alone() -> None:
    found = [
        f"{place} {name}: {body}"
        for place, text in _docstrings()
        for name, body in _parameters(text)
        if FRAGMENT.match(body) and not body.startswith(PLACES)
    ]
    assert not found, f"{len(found)} fragments:\n" + "\n".join(found)


def test_docstrings_have_no_private_dialect() -> None:
    found = [
        f"{place}: {match.group()}"
        for place, text in _docstrings()
        for match in DIALECT.finditer(text)
    ]
    assert not found, f"{len(found)}:\n" + "\n".join(found)
