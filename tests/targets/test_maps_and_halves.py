"""Runs whose maps come from another encoder, and whose store holds halves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindeye.config import TargetsConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.files import MetricsLog, read_json
from mindeye.metrics.systems import references
from mindeye.runs import run_all, start_run
from mindeye.runs.workspace import Workspace
from test_pipeline import PIXELS

LOW = [*PIXELS, "high_enabled=false"]


def run(subject: Subject, folder: Path, words: list[str], until: str) -> Workspace:
    work = start_run(run_config({}, words), subject.path, folder)
    run_all(work, until=until)
    return work


def test_maps_of_another_encoder_take_the_place_of_tokens(
    small_subject: Subject, tmp_path: Path
) -> None:
    words = [*LOW, "targets.maps=zoo", "low.contrastive_weight=0.1"]
    work = run(small_subject, tmp_path / "run", words, "low")
    stored = sorted(p.stem for p in (tmp_path / "run" / "embed").glob("*.npy"))
    assert stored == ["latents", "maps", "maps_recoloured", "tokens"]
    maps, changed = work.embeddings("maps"), work.embeddings("maps_recoloured")
    assert maps.shape[1:] == (65, 64)
    assert work.encoder.id != work.spaces.maps_encoder.id == "zoo_clip"
    assert np.abs(maps - changed).max() > 1e-3
    assert "low" in {p.name for p in (tmp_path / "run").iterdir()}
    described = read_json(tmp_path / "run" / "low" / "config.json")
    assert "64, 64" in str(described)  # 8 x 8 patches without the class token, of width 64
    logged = {row["name"] for row in MetricsLog.rows(tmp_path / "run" / "low" / "log.jsonl")}
    assert any("maps" in name for name in logged)


def test_a_run_on_halves_has_the_metrics_of_one_on_floats(
    small_subject: Subject, tmp_path: Path
) -> None:
    few = [*PIXELS, "evaluate.resamples=50"]
    run(small_subject, tmp_path / "whole", few, "evaluate")
    work = run(small_subject, tmp_path / "half", [*few, "targets.stored=float16"], "evaluate")
    assert work.embeddings("tokens").dtype == np.float16
    found = {}
    for name in ("whole", "half"):
        rows = read_json(tmp_path / name / "metrics.json")["rows"]
        found[name] = {(r["metric"], r["system"]): r["value"] for r in rows}
    assert found["whole"].keys() == found["half"].keys()
    for key, value in found["whole"].items():
        if key[1] in references():  # one near tie, and another training picture stands in
            continue
        # Rounding may swap two stimuli that nearly tie; a rank is one of twenty.
        allowed = 1.0 if "rank" in key[0] else 0.1
        assert found["half"][key] == pytest.approx(value, abs=allowed), key


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"maps_size": 64}, "there is no targets.maps"),
        ({"vae_size": -8}, "targets.vae_size is -8"),
        ({"maps": "zoo", "maps_size": -1}, "targets.maps_size is -1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(words: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TargetsConfig(**words)  # type: ignore[arg-type]
