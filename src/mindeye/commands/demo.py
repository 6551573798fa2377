"""The demo: a simulated subject and a whole run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.config import RunConfig
from mindeye.config.fingerprints import config_dict
from mindeye.config.settings import run_config
from mindeye.data.simulation import SimulateConfig
from mindeye.errors import ConfigError


def demo(*fields: str, out: Path = Path("demo"), seed: int = 0) -> Path:
    """Decode a simulated brain from end to end; no data needed.

    A subject is simulated, the preset demo runs on it, and DIR/report.html shows the result. A
    second call goes on where the first one stopped.

    Parameters
    ----------
    fields
        Fields of the run that differ from the preset demo.
    out
        Folder for everything.
    seed
        Seed of the subject and of the run.

    Returns
    -------
    Path
        The page.

    Examples
    --------
    $ mindeye demo --out demo
    """
    page = run_demo(out, run_config("demo", [f"seed={seed}", *fields]))
    print(f"open {page} in a browser; the table is {page.parent / 'metrics.csv'}")
    return page


def run_demo(out: Path, config: RunConfig, simulation: SimulateConfig | None = None) -> Path:
    """Simulate a subject, run every stage on it, return the path of the page.

    Parameters
    ----------
    out
        Folder of the run; the subject goes into its folder `subject`.
    config
        Configuration of the run; its seed is the subject's seed too.
    simulation
        What is simulated; the calibrated default if left out.
    """
    from mindeye.commands.training import do_stages
    from mindeye.data.simulate import simulate_subject
    from mindeye.runs import start_run

    simulation = simulation or SimulateConfig()
    folder = out / "subject"
    if not _is_made(folder, config_dict(simulation), config.seed):
        if (out / "run.json").exists():
            raise ConfigError(f"{out} holds a demo of another seed or subject; give another --out")
        print("simulating the subject", flush=True)
        simulate_subject(simulation, config.seed, folder)
    return do_stages(start_run(config, folder, out), "report")


def _is_made(folder: Path, simulation: dict[str, Any], seed: int) -> bool:
    """Return whether the very subject asked for was written to the end."""
    from mindeye.files import read_json

    path = folder / "subject.json"
    if not path.is_file():
        return False
    info = read_json(path)
    return bool(info.get("simulation") == simulation and info.get("seed") == seed)
