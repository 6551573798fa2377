"""The stages of a run and the only place that knows their order."""

from mindeye.stages.pipeline import STAGES, run_all
from mindeye.stages.workspace import Workspace, open_run, start_run

__all__ = ["STAGES", "Workspace", "open_run", "run_all", "start_run"]
