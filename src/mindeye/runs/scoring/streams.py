"""Random numbers of the scoring stages: a stream by name."""

from __future__ import annotations

import zlib

import numpy as np

from mindeye.runs.workspace import Workspace


def stream(work: Workspace, name: str) -> np.random.Generator:
    """Return a stream of its own for every name, so that a new system moves no other's interval."""
    return np.random.default_rng([work.config.seed, zlib.crc32(name.encode())])
