"""The table of an ablation: scores, paired differences to the full row, verdicts; three files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.ablations import AblationPlan, AblationRow
from mindeye.data.subject import Subject
from mindeye.evaluation.table import Row
from mindeye.evaluation.uncertainty import Interval, paired_difference
from mindeye.runs import write_json, write_text

DIRECTIONS = ("brain_to_image", "image_to_brain")
SCORES = (*(f"{d}_top1" for d in DIRECTIONS), "PixCorr", "SSIM", "two_way")

REFERENCE = "reference"
NEITHER = "neither"


@dataclass(frozen=True)
class RowResult:
    """What one row of a plan scored.

    Parameters
    ----------
    row
        Of the plan.
    scores
        Its scores by the names in `SCORES`; those it has.
    pictures
        System whose pictures were scored, empty if none were drawn from embeddings.
    hits
        Direction to (S,) 1 where the truth is first among all test stimuli, else 0.
    """

    row: AblationRow
    scores: dict[str, Row]
    pictures: str
    hits: dict[str, NDArray[np.float64]]


def verdict(difference: Interval) -> str:
    """Say where 0 lies: `higher` or `lower` if the interval leaves it out, else `neither`."""
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else NEITHER


def write_tables(
    plan: AblationPlan, results: list[RowResult], subject: Subject, out: Path
) -> dict[str, Any]:
    """Write `ablation.json`, `.csv` and `.md`; the same runs give the same bytes.

    Parameters
    ----------
    plan
        Names the full row.
    results
        One a row of the plan, in its order.
    subject
        The subject that was decoded.
    out
        Folder to write to.

    Returns
    -------
    dict
        Content of `ablation.json`.
    """
    full = next(r for r in results if r.row.name == plan.full)
    scoring = full.row.config.evaluate
    content: dict[str, Any] = {
        "plan": plan.name,
        "base": plan.base,
        "full": plan.full,
        "subject": str(subject.info.get("subject", subject.path.name)),
        "subject_fingerprint": subject.fingerprint,
        "seed": full.row.config.seed,
        "level": scoring.level,
        "resamples": scoring.resamples,
        "nway": scoring.nway,
        "test_stimuli": len(subject.splits["test"]),
        "rows": [_record(result, full) for result in results],
    }
    write_json(out / "ablation.json", content)
    write_text(out / "ablation.csv", _csv(content["rows"]))
    write_text(out / "ablation.md", _markdown(content))
    return content


def _record(result: RowResult, full: RowResult) -> dict[str, Any]:
    scores = {
        name: {"metric": s.metric, "value": s.value, "low": s.low, "high": s.high, "n": s.n}
        for name, s in result.scores.items()
    }
    return {
        "name": result.row.name,
        "claim": result.row.claim,
        "changes": result.row.changes,
        "pictures": result.pictures,
        "scores": scores,
        "differences": _differences(result, full),
    }


def _differences(result: RowResult, full: RowResult) -> dict[str, dict[str, Any]]:
    """Return paired differences of hits; all rows are resampled alike, so rows compare too."""
    scoring, found = full.row.config.evaluate, {}
    for purpose, direction in enumerate(DIRECTIONS):
        if direction not in result.hits or direction not in full.hits:
            continue
        difference = paired_difference(
            result.hits[direction],
            full.hits[direction],
            np.random.default_rng([full.row.config.seed, purpose]),
            level=scoring.level,
            resamples=scoring.resamples,
        )
        said = REFERENCE if result is full else verdict(difference)
        found[direction] = {
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "n": len(result.hits[direction]),
            "verdict": said,
        }
    return found


def _csv(records: list[dict[str, Any]]) -> str:
    rows = []
    for record in records:
        row = {
            "row": record["name"],
            "changes": _changes(record["changes"]),
            "pictures": record["pictures"],
        }
        cells = {name: record["scores"].get(name, {}) for name in SCORES}
        for name, cell in cells.items():
            row |= {name: cell.get("value")}
            row |= {f"{name}_{part}": cell.get(part) for part in ("low", "high", "n")}
        for direction in DIRECTIONS:
            cell, name = record["differences"].get(direction, {}), f"{direction}_difference"
            row |= {name: cell.get("value")}
            row |= {f"{name}_{part}": cell.get(part) for part in ("low", "high", "verdict")}
        rows.append({**row, "claim": record["claim"]})
    return pd.DataFrame(rows).to_csv(index=False)


def _changes(changes: dict[str, Any]) -> str:
    return "; ".join(f"{name}={value}" for name, value in changes.items())


def _cell(score: dict[str, Any] | None, *, sign: str = "") -> str:
    if score is None:
        return "–"
    value = f"{score['value']:{sign}.3f}"
    return f"{value} [{score['low']:{sign}.3f}, {score['high']:{sign}.3f}]"


HEADINGS = (
    "row", "brain to image top-1", "image to brain top-1", "n",
    "brain to image, minus full (full test pool)", "verdict",
    "image to brain, minus full (full test pool)", "verdict",
    "pictures", "PixCorr", "SSIM", "two-way", "n drawn",
)  # fmt: skip


def _markdown(content: dict[str, Any]) -> str:
    lines = [
        f"# Ablation `{content['plan']}` on {content['subject']}",
        "",
        f"Preset `{content['base']}`, seed {content['seed']}, {content['test_stimuli']} test "
        f"stimuli. Brackets hold {content['level']:.0%} bootstrap intervals over test stimuli.",
        "",
        f"- Top-1 is among {content['nway']} random test stimuli, or all where there are fewer.",
        f"- **Minus full** is the paired difference to `{content['full']}` in hits among *all* "
        "test stimuli, not among random draws: it need not equal the difference of the top-1 "
        "columns.",
        "- The verdict says whether that interval leaves out 0: `higher`, `lower` or `neither`. Of "
        "many rows, a few leave it out by chance.",
        "- Pictures: the system that was scored (`both` starts from the low level, `high` does "
        "not), two-way identification by the run's own encoder; a dash where nothing was drawn. "
        "They carry no verdict: compare their intervals.",
        "- One seed a row: intervals do not contain the variation between trainings.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"|{'---|' * len(HEADINGS)}",
    ]
    lines += [f"| {' | '.join(_cells(record))} |" for record in content["rows"]]
    lines += ["", "## What each row tests", ""]
    for record in content["rows"]:
        changed = f" (`{_changes(record['changes'])}`)" if record["changes"] else ""
        lines.append(f"- **{record['name']}**{changed}: {record['claim']}")
    return "\n".join(lines) + "\n"


def _cells(record: dict[str, Any]) -> list[str]:
    scores, differences = record["scores"], record["differences"]
    retrieved, drawn = (scores.get(name, {}).get("n", "–") for name in (SCORES[0], "PixCorr"))
    cells = [record["name"], *(_cell(scores.get(f"{d}_top1")) for d in DIRECTIONS), str(retrieved)]
    for direction in DIRECTIONS:
        difference = differences.get(direction)
        cells.append(_cell(difference, sign="+"))
        cells.append("–" if difference is None else difference["verdict"])
    pictures = (_cell(scores.get(name)) for name in ("PixCorr", "SSIM", "two_way"))
    return [*cells, record["pictures"] or "–", *pictures, str(drawn)]
