"""Seeds for the parts of a computation, made from one seed."""

from __future__ import annotations

import zlib

import numpy as np


def derive_seed(*parts: int) -> int:
    """Return a seed in [0, 2^63) from non-negative integers such as (run's seed, step, process).

    Other parts give unrelated seeds, also where they are neighbours (NumPy's SeedSequence).
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def named_rng(seed: int, *names: str) -> np.random.Generator:
    """Return random numbers that belong to a name, so that another name more moves none of them.

    Examples
    --------
    >>> bool(named_rng(0, "SSIM").random() == named_rng(0, "SSIM").random())
    True
    """
    return np.random.default_rng([seed, zlib.crc32("\0".join(names).encode())])
