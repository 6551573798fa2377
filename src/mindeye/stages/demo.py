"""The demo: a simulated subject and a whole run on it."""

from __future__ import annotations

from pathlib import Path

from mindeye.config import RunConfig, SimulateConfig, config_hash
from mindeye.data.simulate import simulate_subject
from mindeye.runs import run_stage
from mindeye.stages.pipeline import run_all
from mindeye.stages.workspace import start_run


def run_demo(out: Path, config: RunConfig, simulation: SimulateConfig | None = None) -> Path:
    """Simulate a subject, run every stage on it, return the path of the report.

    Parameters
    ----------
    out
        Folder of the run; the subject goes into its folder `subject`.
    config
        Of the run; its seed is the subject's seed too.
    simulation
        Of the subject; the calibrated default if left out.
    """
    chosen = simulation or SimulateConfig()
    folder = out / "subject"
    run_stage(
        folder / "made",
        config_hash(chosen, config.seed),
        lambda: simulate_subject(chosen, config.seed, folder),
    )
    work = start_run(config, folder, out)
    run_all(work)
    return out / "report.html"
