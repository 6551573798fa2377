"""However few or odd the data, a run ends with a table and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import MindEyeError
from mindeye.files import read_json
from mindeye.metrics.points import read_controls
from mindeye.runs import run_all, start_run
from test_pipeline import PIXELS

WORDS = [*PIXELS, "high.optim.epochs=1", "low.optim.epochs=1", "evaluate.resamples=20"]


def _subject(
    folder: Path,
    *,
    train: int = 20,
    test: int = 4,
    repeats: int = 2,
    extra: int = 0,
    voxels: int = 30,
    shape: tuple[int, ...] = (16, 16, 3),
) -> Path:
    """A subject of noise: the last `test` pictures are test, the first one `extra` times more."""
    rng = np.random.default_rng(0)
    count = train + test
    pictures = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    shown = np.concatenate([np.tile(np.arange(count), repeats), np.full(extra, train)])
    splits = {
        "test": [str(i) for i in range(train, count)],
        "val": [str(i) for i in range(max(1, train // 10))],
        "train": [str(i) for i in range(max(1, train // 10), train)],
    }
    subject = Subject.from_arrays(
        rng.normal(size=(len(shown), voxels)), pictures, shown, splits=splits,
        zscore="train", no_alignment_test=True,
    )  # fmt: skip
    return subject.write(folder / "subject").path


SHAPES = {
    "two test pictures": {"test": 2},
    "three test pictures": {"test": 3},
    "five test pictures": {"test": 5},
    "one test picture with more repeats": {"extra": 2},
    "no repeats": {"repeats": 1},
    "one voxel": {"voxels": 1},
    "six training pictures": {"train": 6},
    "pictures of 24 x 32": {"shape": (24, 32, 3)},
    "grey pictures": {"shape": (16, 16)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_run_on_tiny_data_is_scored_to_the_end(name: str, tmp_path: Path) -> None:
    folder = _subject(tmp_path, **SHAPES[name])
    run_all(start_run(run_config({}, WORDS), folder, tmp_path / "run"))
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    assert {"PixCorr", "brain_to_image_full_top1"} <= {row["metric"] for row in rows}
    assert (tmp_path / "run" / "report.html").is_file()
    _, findings = read_controls(tmp_path / "run" / "controls.json")
    for one in findings:
        if one.text.startswith("Not computed"):
            assert one.control
            assert not one.passed


def test_one_test_picture_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    folder = _subject(tmp_path, test=1)
    with pytest.raises(MindEyeError, match="1 test stimulus"):
        run_all(start_run(run_config({}, WORDS), folder, tmp_path / "run"))
    assert not (tmp_path / "run" / "high").exists()
