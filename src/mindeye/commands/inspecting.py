"""Verbs that say what is in a folder: a prepared subject, a run, a gallery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindeye.commands.folders import need_path, need_subject
from mindeye.commands.training import STAGE_HELP
from mindeye.errors import DataError

MAIN_METRICS = ("brain_to_image_top1", "image_to_brain_top1", "PixCorr", "SSIM")
"""Scores that `info` shows of a run, and every two-way identification."""


def info(folder: Path) -> None:
    """Say what is in a folder: a prepared subject, a run, or a gallery.

    Of a run: which stages are done, and its main scores.

    Parameters
    ----------
    folder
        The folder.

    Examples
    --------
    $ mindeye info subj01
    $ mindeye info runs/subj01
    """
    need_path(folder, "info")
    if (folder / "run.json").is_file():
        print(run_text(folder))
    elif (folder / "gallery.json").is_file():
        from mindeye.commands.gallery import info as gallery_info

        print(gallery_info(folder))
    elif (folder / "subject.json").is_file():
        from mindeye.data.subject import load_subject
        from mindeye.data.subject_checks import describe

        print(facts_text(describe(load_subject(folder))))
    else:
        raise DataError(
            f"{folder} is not a prepared subject (no subject.json), no run (no run.json) and no "
            "gallery (no gallery.json)"
        )


def check(folder: Path) -> None:
    """Verify a prepared subject: checksums of every file, splits, values, guards.

    Parameters
    ----------
    folder
        Folder of a prepared subject.

    Examples
    --------
    $ mindeye check subj01
    """
    need_subject(folder)
    from mindeye.data.subject_checks import check_subject
    from mindeye.preparation.guards import recheck

    for line in recheck(check_subject(folder)):
        print(line)
    print(f"{folder} is sound")


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return names and values, one a line, values in one column."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def run_text(folder: Path) -> str:
    """Return the state of a run as text: its subject, its stages, its main scores.

    Raises
    ------
    DataError
        If a file of the run is damaged.
    """
    known = _read(folder / "run.json")
    done = {name: _state(folder / name / "stage.json") for name in STAGE_HELP}
    seed = known.get("config", {}).get("seed", "not stated")
    facts = {"run": folder, "subject": known.get("subject_dir"), "seed": seed, **done}
    scores = _scores(folder / "metrics.json")
    if (folder / "report.html").is_file():
        facts["page"] = folder / "report.html"
    return facts_text(facts) + (f"\n\n{scores}" if scores else "")


def _state(stage: Path) -> str:
    if not stage.is_file():
        return "not done"
    content = _read(stage)
    return f"done, {content.get('seconds', 0):.0f} s, {content.get('date', 'no date')}"


def _scores(path: Path) -> str:
    """Return the main scores of a run as a table with their intervals."""
    if not path.is_file():
        return ""
    import pandas as pd

    rows = pd.DataFrame(_read(path)["rows"])
    shown = rows["metric"].isin(MAIN_METRICS) | rows["metric"].str.match("two_way_(?!among)")
    main = rows[shown & rows["system"].isin(["mindeye", "ridge", "high", "low", "both"])]
    columns = ["metric", "system", "value", "low", "high", "chance", "n"]
    return str(main[columns].to_string(index=False, float_format="{:.3f}".format, na_rep=""))


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); run the stage again") from error
    return content
