"""Print a run's table, or one scored from outside, as Markdown for docs/explanation/results.md.

python scripts/results_table.py demo            # headline metrics
python scripts/results_table.py demo --all      # every row
python scripts/results_table.py demo --controls # findings
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SHOWN = ("brain_to_image_top1", "image_to_brain_top1", "PixCorr", "SSIM", "two_way", "distance",
         "effective_rank", "out_of_span")  # fmt: skip
BESIDE = {
    "random_training": "random",
    "nearest_training_true": "nearest true",
    "nearest_training_predicted": "nearest decoded",
    "generator_from_truth": "from truth",
    "noise_ceiling": "repeats",
    "ideal_observer": "ideal",
}
"""References, and their headings."""


def number(value: float | None) -> str:
    """Format a value; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def ends(low: float | None, high: float | None) -> str:
    """Format an interval; nothing where there is none."""
    return "" if low is None else f" [{number(low)}, {number(high)}]"


def table(rows: list[dict], everything: bool) -> None:
    """Print rows with all that stands beside them."""
    heads = ["metric", "system", "k", "value", "n", "chance", "floor", *BESIDE.values(), "ceiling"]
    print(f"| {' | '.join(heads)} |")
    print("|" + "---|" * len(heads))
    for row in rows:
        if not (everything or row["metric"].startswith(SHOWN)):
            continue
        beside = [number(row["references"].get(name)) for name in BESIDE]
        cells = (
            row["metric"], row["system"], "–" if row["k"] is None else str(row["k"]),
            number(row["value"]) + ends(row["low"], row["high"]), str(row["n"]),
            number(row["chance"]),
            number(row["floor"]) + ends(row["floor_low"], row["floor_high"]), *beside,
            number(row["ceiling"]),
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--controls", action="store_true", help="what the controls found instead")
    flags = parser.parse_args()
    if flags.controls:
        for one in json.loads((flags.run / "controls.json").read_text())["findings"]:
            mark = "ok" if one["passed"] else "**warning**"
            print(f"- {mark}, `{one['control']}`, {one['system'] or 'data'}: {one['text']}")
    else:
        table(json.loads((flags.run / "metrics.json").read_text())["rows"], flags.all)


if __name__ == "__main__":
    main()
