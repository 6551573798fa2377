"""Print a run's table as Markdown, for docs/results.md.

python scripts/results_table.py demo
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SHOWN = ("brain_to_image_top1", "image_to_brain_top1", "PixCorr", "SSIM", "two_way")


def number(value: float | None) -> str:
    """Format a value; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    flags = parser.parse_args()
    rows = json.loads((flags.run / "metrics.json").read_text())["rows"]
    print("| metric | system | value | interval | n | chance | floor (interval) | ceiling |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if row["metric"].startswith(SHOWN):
            floor = number(row["floor"])
            ends = f"{number(row['floor_low'])} to {number(row['floor_high'])}"
            cells = (
                row["metric"], row["system"], number(row["value"]),
                f"{number(row['low'])} to {number(row['high'])}", str(row["n"]),
                number(row["chance"]),
                f"{floor} ({ends})", number(row["ceiling"]),
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
