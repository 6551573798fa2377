"""Fixtures that several rooms share: a small simulated subject and small arrays on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MINDEYE_PROGRESS"] = "0"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from parity.table import pytest_terminal_summary  # noqa: F401
from small_simulation import SMALL


@pytest.fixture(scope="session")
def small_subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A simulated subject of 60 + 20 stimuli and 120 voxels."""
    return simulate_subject(SMALL, 0, tmp_path_factory.mktemp("small") / "subject")


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Return a function that writes arrays as a user would have them, with planted faults."""

    def write(
        *,
        betas: np.ndarray | None = None,
        pictures: np.ndarray | None = None,
        trials: pd.DataFrame | None = None,
    ) -> dict[str, Path]:
        rng = np.random.default_rng(0)
        if betas is None:
            betas = rng.standard_normal((40, 12)) * 3 + 5
        if pictures is None:
            pictures = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
        if trials is None:
            trials = pd.DataFrame(
                {"stimulus_id": np.tile(np.arange(20), 2), "session": np.repeat([0, 1], 20)}
            )
        paths = {n: tmp_path / n for n in ("betas.npy", "stimuli.npy", "trials.csv")}
        np.save(paths["betas.npy"], betas)
        np.save(paths["stimuli.npy"], pictures)
        trials.to_csv(paths["trials.csv"], index=False)
        return {"betas": paths["betas.npy"], "stimuli": paths["stimuli.npy"],
                "trials": paths["trials.csv"]}  # fmt: skip

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test as quick but those of the modules that are listed as longer."""
    here = Path(__file__).parent
    lines = (here / "beyond_quick.txt").read_text(encoding="utf-8").splitlines()
    longer = {here / line for line in lines if not line.startswith("#")}
    for item in items:
        marked = any(item.get_closest_marker(name) for name in ("slow", "gpu"))
        if item.path not in longer and not marked:
            item.add_marker("quick")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a test that is skipped for want of a package is a failure: nothing is missing there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    missing = [
        r for r in reporter.stats.get("skipped", []) if "could not import" in str(r.longrepr)
    ]
    if missing and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(
            f"{len(missing)} tests skipped for a missing package fail in CI", red=True
        )
