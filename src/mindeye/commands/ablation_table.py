"""The table of an ablation: scores, paired differences to the full row, verdicts; three files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mindeye.commands.ablation_plan import AblationPlan
from mindeye.commands.ablation_tests import (
    DIRECTIONS,
    PICTURE_SCORES,
    REFERENCE,
    SCORES,
    TESTED,
    RowResult,
    all_differences,
    permutation_tests,
    seed_spreads,
)
from mindeye.data.subject import Subject
from mindeye.files import write_json, write_text

NAMES = {
    "brain_to_image_top1": "brain to image top-1",
    "image_to_brain_top1": "image to brain top-1",
    "brain_to_image": "brain to image (full test pool)",
    "image_to_brain": "image to brain (full test pool)",
    "PixCorr": "PixCorr",
    "SSIM": "SSIM",
    "two_way": "two-way",
}


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
    differences = all_differences(results, full)
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
        "rows": [_record(*both) for both in zip(results, differences, strict=True)],
        "permutation": permutation_tests(results, full),
        "seeds": seed_spreads(results, full),
    }
    write_json(out / "ablation.json", content)
    write_text(out / "ablation.csv", _csv(content["rows"]))
    write_text(out / "ablation.md", _markdown(content))
    return content


def _record(result: RowResult, differences: dict[str, dict[str, Any]]) -> dict[str, Any]:
    scores = {
        name: {"metric": s.metric, "value": s.value, "low": s.low, "high": s.high, "n": s.n}
        for name, s in result.scores.items()
    }
    return {
        "name": result.row.name,
        "claim": result.row.claim,
        "changes": result.row.changes,
        "null": result.is_null,
        "pictures": result.pictures,
        "scores": scores,
        "differences": differences,
    }


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
        for tested in TESTED:
            cell, name = record["differences"].get(tested, {}), f"{tested}_difference"
            row |= {name: cell.get("value")}
            parts = ("low", "high", "n", "p", "p_adjusted", "verdict")
            row |= {f"{name}_{part}": cell.get(part) for part in parts}
        rows.append({**row, "claim": record["claim"]})
    return pd.DataFrame(rows).to_csv(index=False)


def _changes(changes: dict[str, Any]) -> str:
    return "; ".join(f"{name}={value}" for name, value in changes.items())


def _cell(score: dict[str, Any] | None, *, sign: str = "") -> str:
    if score is None:
        return "–"
    value = f"{score['value']:{sign}.3f}"
    return f"{value} [{score['low']:{sign}.3f}, {score['high']:{sign}.3f}]"


def _test(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    if cell["verdict"] == REFERENCE:
        return REFERENCE
    p, q = cell["p"], cell["p_adjusted"]
    return f"{_cell(cell, sign='+')}, p {p:.4f} ({q:.4f}): {cell['verdict']}"


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _markdown(content: dict[str, Any]) -> str:
    rows, full = content["rows"], content["full"]
    lines = [
        f"# Ablation `{content['plan']}` on {content['subject']}",
        "",
        f"Preset `{content['base']}`, seed {content['seed']}, {content['test_stimuli']} test "
        f"stimuli. Brackets hold {content['level']:.0%} bootstrap intervals over test stimuli.",
        "",
        f"- Top-1 is among {content['nway']} random test stimuli, or all where there are fewer.",
        "- Pictures: the system that was scored (`both` starts from the low level, `high` does "
        "not), two-way identification by the run's own encoder; a dash where nothing was drawn.",
        "- One seed a row: intervals and p do not contain the variation between trainings.",
        "",
        *_score_table(rows),
    ]
    if any(record["differences"] for record in rows if record["name"] != full):
        lines += ["", *_difference_lines(rows, full)]
    if content["permutation"]:
        lines += ["", *_permutation_lines(content["permutation"], full)]
    if content["seeds"]:
        lines += ["", *_seed_lines(content["seeds"], full)]
    lines += ["", "## What each row tests", ""]
    for record in rows:
        changed = f" (`{_changes(record['changes'])}`)" if record["changes"] else ""
        lines.append(f"- **{record['name']}**{changed}: {record['claim']}")
    return "\n".join(lines) + "\n"


def _difference_lines(records: list[dict[str, Any]], full: str) -> list[str]:
    return [
        f"## Minus `{full}`",
        "",
        f"Paired differences to `{full}`, stimulus by stimulus: value, interval, p (adjusted p), "
        "verdict.",
        "",
        "- Retrieval is compared in hits among *all* test stimuli, not among random draws: it need "
        "not equal the difference of the top-1 columns. Pictures are compared on the stimuli that "
        "both rows drew; a dash where another encoder or size judged them.",
        "- The verdict says whether the interval leaves out 0: `higher`, `lower` or `neither`, "
        "which is not the same as equal. Of many cells, a few leave it out by chance: the adjusted "
        "p accounts for that.",
        "- p: paired sign-flip permutation test, two-sided; adjusted over all cells of this table "
        "(false discovery rate, Benjamini & Hochberg 1995).",
        "",
        *_difference_table(records),
    ]


def _score_table(records: list[dict[str, Any]]) -> list[str]:
    retrieval, pictures = SCORES[: len(DIRECTIONS)], PICTURE_SCORES
    headings = [
        "row", *(NAMES[n] for n in retrieval), "n",
        "pictures", *(NAMES[n] for n in pictures), "n drawn",
    ]  # fmt: skip
    rows = []
    for record in records:
        scores = record["scores"]
        retrieved, drawn = (
            str(scores.get(name, {}).get("n", "–")) for name in (retrieval[0], pictures[0])
        )
        rows.append([
            record["name"], *(_cell(scores.get(n)) for n in retrieval), retrieved,
            record["pictures"] or "–", *(_cell(scores.get(n)) for n in pictures), drawn,
        ])  # fmt: skip
    return _table(headings, rows)


def _difference_table(records: list[dict[str, Any]]) -> list[str]:
    rows = [
        [record["name"], *(_test(record["differences"].get(name)) for name in TESTED)]
        for record in records
        if not record["null"]
    ]
    return _table(["row", *(NAMES[name] for name in TESTED)], rows)


def _seed_lines(spreads: dict[str, dict[str, Any]], full: str) -> list[str]:
    rows = [
        [
            NAMES[name],
            str(len(spread["values"])),
            f"{spread['mean']:.3f}",
            f"{spread['sd']:.3f}",
            f"{min(spread['values']):.3f} to {max(spread['values']):.3f}",
        ]
        for name, spread in spreads.items()
    ]
    return [
        f"## Spread over seeds of `{full}`",
        "",
        "The same training, drawing and scoring with other random numbers. The standard deviation "
        "over seeds is what the intervals above do not contain; of few seeds it is rough itself.",
        "",
        *_table(["score", "seeds", "mean", "standard deviation", "range"], rows),
    ]


def _permutation_lines(tests: dict[str, dict[str, Any]], full: str) -> list[str]:
    most = max(test["permutations"] for test in tests.values())
    rows = [
        [
            NAMES[name],
            f"{test['value']:.3f}",
            f"{test['null_mean']:.3f}",
            f"{test['null_best']:.3f}",
            str(test["permutations"]),
            f"{test['p']:.4f}",
        ]
        for name, test in tests.items()
    ]
    return [
        f"## Permutation null of `{full}`",
        "",
        "Everything trained again with training brains and stimuli paired at random, and scored "
        "on the recorded test pairs. p = (1 + nulls at least as good) / (nulls + 1), one-sided "
        "(Phipson & Smyth 2010); with "
        f"{most} of them no p is below {1 / (most + 1):.3g}.",
        "",
        *_table(["score", f"`{full}`", "mean of nulls", "best null", "nulls", "p"], rows),
    ]
