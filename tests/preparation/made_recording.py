"""A recording in memory whose betas follow its pictures, for tests of the preparation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mindeye.data.trials import complete_trials
from mindeye.datasets.recording import Recording

SIDE = 16


def made_pictures(count: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures (count, SIDE, SIDE, 3) of four coloured quarters each."""
    quarters = rng.integers(0, 256, (count, 2, 2, 3))
    return np.repeat(np.repeat(quarters, SIDE // 2, axis=1), SIDE // 2, axis=2).astype(np.uint8)


def made_recording(
    folder: Path,
    *,
    stimuli: int = 60,
    repeats: int = 2,
    sessions: int = 3,
    voxels: int = 30,
    noise: float = 0.5,
    seed: int = 0,
    shift: int = 0,
    on_read: Callable[[int], None] | None = None,
    **changed: Any,
) -> Recording:
    """Return a recording; sessions differ in offset and gain, as raw betas do.

    `shift` pairs every trial with the betas of so many trials later; `on_read` is called with
    every session that is read.
    """
    rng = np.random.default_rng(seed)
    pictures = made_pictures(stimuli, rng)
    ids = [f"{i:03d}" for i in range(stimuli)]
    order = np.concatenate([rng.permutation(stimuli) for _ in range(repeats)])
    session = np.arange(len(order)) * sessions // len(order) + 1
    trials = complete_trials(
        pd.DataFrame({"session": session, "stimulus_id": [ids[i] for i in order]})
    )
    code = (pictures[:, :: SIDE // 2, :: SIDE // 2].reshape(stimuli, -1) / 128.0) - 1
    weights = rng.standard_normal((code.shape[1], voxels))
    clean = code @ weights / np.sqrt(code.shape[1])
    offset, gain = rng.normal(0, 5, sessions + 1), rng.uniform(0.5, 3, sessions + 1)
    betas = clean[order] + noise * rng.standard_normal((len(order), voxels))
    betas = np.roll(betas, -shift, axis=0) * gain[session][:, None] + offset[session][:, None]
    source = folder / "source.bin"
    source.parent.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        source.write_bytes(b"raw")

    def read_betas(number: int) -> np.ndarray:
        if on_read is not None:
            on_read(number)
        return betas[session == number].astype(np.float32)

    def read_pictures(wanted: Sequence[str]) -> Any:
        return (pictures[int(s)] for s in wanted)

    recording = Recording(
        subject="subj01",
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=pd.DataFrame({"voxel": range(voxels), "x": range(100, 100 + voxels)}),
        read_betas=read_betas,
        read_pictures=read_pictures,
        inputs=(source,),
        info={"source": "made up", "licence": "CC0-1.0", "space": "none", "units": "raw"},
        test_sets={"shared": tuple(ids[:12])},
    )
    return replace(recording, **changed)
