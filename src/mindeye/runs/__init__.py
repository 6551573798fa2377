"""The stages of a run and the only place that knows their order."""

from mindeye.runs.pipeline import STAGES, run_all
from mindeye.runs.workspace import Workspace, open_run, start_run

__all__ = ["STAGES", "Workspace", "open_run", "run_all", "start_run"]
