"""Every extra that an error tells to install exists."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[1]


def test_every_extra_that_a_missing_library_names_is_in_pyproject() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    found = {}
    for folder in ("src", "benchmarks"):
        for path in (TOP / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and "MissingDependencyError" in ast.unparse(
                    node.func
                ):
                    found[f"{path.name}:{node.lineno}"] = ast.literal_eval(node.args[1])
    assert len(found) > 5
    assert {where: extra for where, extra in found.items() if extra not in extras} == {}
