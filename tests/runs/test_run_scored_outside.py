"""A run's pictures score the same whether the run scores them or anybody does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mindeye.cli import main
from mindeye.data.subject import Subject
from mindeye.files import read_json
from mindeye.metrics.table import read_rows, read_scores
from small_zoo_run import WORDS


def test_a_run_scored_from_outside_gets_the_run_s_own_numbers(
    small_subject: Subject, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    flags = [f"--subject-dir={small_subject.path}", f"--out={run}", "--until=evaluate"]
    assert main(["run", "demo", *flags, *WORDS]) == 0
    ids = read_json(run / "reconstruct" / "stimulus_ids.json")
    np.save(tmp_path / "seen.npy", small_subject.pictures_of(ids))
    command = ["evaluate", "--reconstructions", f"{run / 'reconstruct' / 'both.npy'}"]
    command += [f"--stimuli={tmp_path / 'seen.npy'}", f"--out={out}", "--size=0", "--resamples=20"]
    assert main(command) == 0
    inside = {r.metric: r for r in read_rows(run / "metrics.json") if r.system == "both"}
    outside = read_rows(out / "metrics.json")
    assert {row.metric for row in outside} >= {"PixCorr", "SSIM"}
    for row in outside:
        assert row.value == inside[row.metric].value
        assert (row.n, row.chance) == (inside[row.metric].n, inside[row.metric].chance)
    theirs, ours = (read_scores(folder) for folder in (run, out))
    for metric in ("PixCorr", "SSIM"):
        left = theirs[(theirs.system == "both") & (theirs.metric == metric)].value
        assert left.tolist() == ours[ours.metric == metric].value.tolist()
