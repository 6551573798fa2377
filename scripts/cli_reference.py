"""Writes docs/reference/cli.md, the command reference, from the command line itself.

python scripts/cli_reference.py           # write it
python scripts/cli_reference.py --check   # fail if it is stale
"""

from __future__ import annotations

import sys
from pathlib import Path

from mindeye.cli import GROUPS, all_verbs
from mindeye.verb_help import help_of

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

HEAD = """# Commands

Every verb of `mindeye`, as `mindeye VERB --help` prints it. Written by `python
scripts/cli_reference.py`; edit the docstrings in `src/mindeye/commands`, not this page.
"""


def reference() -> str:
    """Return the page."""
    everything = all_verbs()
    lines = [HEAD]
    for group, verbs in GROUPS.items():
        lines.append(f"## {group}\n")
        for name in verbs:
            below = [verb for verb in everything if verb.startswith(f"{name} ")]
            for verb in [name, *below]:
                text = help_of(f"mindeye {verb}", everything[verb])
                lines.append(f"### `mindeye {verb}`\n\n```text\n{text}\n```\n")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is stale."""
    text = reference()
    if words != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is stale; run python scripts/cli_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
