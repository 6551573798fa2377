"""Every knob of a run, as frozen dataclasses with one doc line per field.

The command line, its ``--help`` and the YAML presets are all derived from these classes. Nothing
here imports torch, so that ``mindeye --help`` answers at once.
"""

from mindeye.config.high import ContrastiveConfig, DecoderConfig, HighConfig, PriorConfig
from mindeye.config.low import LowConfig
from mindeye.config.optim import OptimConfig
from mindeye.config.results import EvaluateConfig, ReconstructConfig
from mindeye.config.run import RunConfig
from mindeye.config.targets import TargetsConfig

__all__ = [
    "ContrastiveConfig",
    "DecoderConfig",
    "EvaluateConfig",
    "HighConfig",
    "LowConfig",
    "OptimConfig",
    "PriorConfig",
    "ReconstructConfig",
    "RunConfig",
    "TargetsConfig",
]
