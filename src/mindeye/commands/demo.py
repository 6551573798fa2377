"""The demo: a simulated subject and a whole run on it."""

from __future__ import annotations

from pathlib import Path

from mindeye.config import RunConfig
from mindeye.config.fingerprints import config_dict
from mindeye.data.simulate import simulate_subject
from mindeye.data.simulation import SimulateConfig
from mindeye.errors import ConfigError
from mindeye.files import read_json
from mindeye.runs.pipeline import run_all
from mindeye.runs.workspace import start_run


def _is_made(folder: Path, simulation: SimulateConfig, seed: int) -> bool:
    """Return whether the very subject asked for was written to the end."""
    path = folder / "subject.json"
    if not path.is_file():
        return False
    info = read_json(path)
    return bool(info.get("simulation") == config_dict(simulation) and info.get("seed") == seed)


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
    if not _is_made(folder, chosen, config.seed):
        if (out / "run.json").exists():
            raise ConfigError(f"{out} holds a demo of another seed or subject; give another --out")
        simulate_subject(chosen, config.seed, folder)
    work = start_run(config, folder, out)
    run_all(work)
    return out / "report.html"
