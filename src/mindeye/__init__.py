"""MindEye: from fMRI betas to the picture that was seen."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `mindeye --help` does not wait for torch.
_PUBLIC = {
    "AUTOENCODERS": "mindeye.targets.autoencoders",
    "DATASETS": "mindeye.datasets.registry",
    "DECODERS": "mindeye.models",
    "ENCODERS": "mindeye.targets.encoders",
    "GENERATORS": "mindeye.generation.generators",
    "LOSSES": "mindeye.losses",
    "METRICS": "mindeye.metrics.registry",
    "SAMPLERS": "mindeye.diffusion",
    "SYSTEMS": "mindeye.metrics.systems",
    "ArraysConfig": "mindeye.datasets.arrays",
    "BrainDecoder": "mindeye.decoding.brain",
    "check_subject": "mindeye.data.subject_checks",
    "compare": "mindeye.metrics.comparison",
    "Dataset": "mindeye.datasets.registry",
    "evaluate": "mindeye.metrics.evaluate",
    "Gallery": "mindeye.gallery.gallery",
    "load_subject": "mindeye.data.subject",
    "LowLevelDecoder": "mindeye.decoding.low_level",
    "Metric": "mindeye.metrics.registry",
    "NeighbourDecoder": "mindeye.decoding.baselines",
    "NsdConfig": "mindeye.datasets.nsd.layout",
    "open_run": "mindeye.runs",
    "prepare": "mindeye.preparation.prepare",
    "PrepareConfig": "mindeye.preparation.config",
    "read_arrays": "mindeye.datasets.arrays",
    "read_nsd": "mindeye.datasets.nsd.reader",
    "Reconstructor": "mindeye.decoding.reconstructor",
    "Recording": "mindeye.datasets.recording",
    "report": "mindeye.runs.report",
    "retrieve": "mindeye.gallery.gallery",
    "RidgeDecoder": "mindeye.decoding.baselines",
    "run": "mindeye.commands.training",
    "run_all": "mindeye.runs",
    "run_config": "mindeye.config.settings",
    "RunConfig": "mindeye.config",
    "simulate_subject": "mindeye.data.simulate",
    "SimulateConfig": "mindeye.data.simulation",
    "start_run": "mindeye.runs",
    "Subject": "mindeye.data.subject",
    "System": "mindeye.metrics.systems",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mindeye' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
