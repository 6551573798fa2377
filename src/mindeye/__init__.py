"""MindEye: from fMRI betas to the picture that was seen."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `mindeye --help` does not wait for torch.
_PUBLIC = {
    "BrainDecoder": "mindeye.decoding.brain",
    "LowLevelDecoder": "mindeye.decoding.low_level",
    "NeighbourDecoder": "mindeye.decoding.baselines",
    "Reconstructor": "mindeye.decoding.reconstructor",
    "RidgeDecoder": "mindeye.decoding.baselines",
    "AUTOENCODERS": "mindeye.targets.autoencoders",
    "ENCODERS": "mindeye.targets.encoders",
    "GENERATORS": "mindeye.generation.generators",
    "Gallery": "mindeye.gallery.gallery",
    "METRICS": "mindeye.metrics.registry",
    "SAMPLERS": "mindeye.diffusion",
    "Metric": "mindeye.metrics.registry",
    "SYSTEMS": "mindeye.metrics.systems",
    "System": "mindeye.metrics.systems",
    "ArraysConfig": "mindeye.datasets.arrays",
    "DECODERS": "mindeye.models",
    "LOSSES": "mindeye.losses",
    "compare": "mindeye.metrics.comparison",
    "report": "mindeye.runs.report",
    "DATASETS": "mindeye.datasets.registry",
    "Dataset": "mindeye.datasets.registry",
    "NsdConfig": "mindeye.datasets.nsd.layout",
    "PrepareConfig": "mindeye.preparation.config",
    "Recording": "mindeye.datasets.recording",
    "RunConfig": "mindeye.config",
    "SimulateConfig": "mindeye.data.simulation",
    "Subject": "mindeye.data.subject",
    "check_subject": "mindeye.data.subject_checks",
    "evaluate": "mindeye.metrics.evaluate",
    "load_subject": "mindeye.data.subject",
    "open_run": "mindeye.runs",
    "prepare": "mindeye.preparation.prepare",
    "read_arrays": "mindeye.datasets.arrays",
    "read_nsd": "mindeye.datasets.nsd.reader",
    "retrieve": "mindeye.gallery.retrieve",
    "run_all": "mindeye.runs",
    "run_config": "mindeye.config.settings",
    "simulate_subject": "mindeye.data.simulate",
    "start_run": "mindeye.runs",
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
