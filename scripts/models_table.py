"""Writes the tables of docs/reference/models.md from the table of models itself.

python scripts/models_table.py           # write them
python scripts/models_table.py --check   # fail if they are stale
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mindeye.weights.checks import bytes_text
from mindeye.weights.table import ADAPTER_BASES, MODELS, Model

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "models.md"


def row(model: Model) -> str:
    """Return a model's row."""
    revision = f"`{model.revision}`{'' if model.pinned else ' (can move)'}"
    size = bytes_text(model.size) + (", pickles" if model.format == "pickle" else "")
    return f"| {model.id} | {revision} | {size} | {model.licence} | {model.use} |"


def tables() -> dict[str, str]:
    """Return what stands between the page's markers, by their name."""
    models = ["| id | revision | about | licence | for |", "|---|---|---|---|---|"]
    models += [row(model) for model in MODELS.values()]
    notes = [f"* {model.id}: {model.note}." for model in MODELS.values()]
    adapters = ["| file | base | encoder |", "|---|---|---|"]
    adapters += [f"| `{file}` | `{a}` | `{b}` |" for file, (a, b) in ADAPTER_BASES.items()]
    parts = {"models": models, "notes": notes, "adapters": adapters}
    return {name: "\n".join(lines) for name, lines in parts.items()}


def main(words: list[str]) -> int:
    """Write the tables into the page, or with ``--check`` say whether they are stale."""
    before = text = PAGE.read_text(encoding="utf-8")
    for name, table in tables().items():
        begin, end = f"<!-- {name}: python scripts/models_table.py -->", f"<!-- end {name} -->"
        pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
        block = f"{begin}\n{table}\n{end}"
        text, number = re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        if number != 1:
            print(f"{PAGE} lacks the markers of {name}", file=sys.stderr)
            return 1
    if words != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
    elif text != before:
        print(f"{PAGE} is stale; run python scripts/models_table.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
