"""Noise schedulers by the names that configurations use, from a model folder's own settings.

The schedule of noise (betas, prediction type, spacing) is the model's and is read from its folder;
the name only chooses the solver that goes along it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError, ConfigError

SCHEDULERS = {
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "ddpm": "DDPMScheduler",
}
"""Name in `reconstruct.scheduler` -> class of `diffusers`."""


def load_scheduler(folder: Path, name: str) -> Any:
    """Return a scheduler of that name with the settings in `folder/scheduler`.

    Raises
    ------
    ConfigError
        If the name is unknown.
    CheckpointError
        If the folder holds no scheduler settings.
    """
    if name not in SCHEDULERS:
        raise ConfigError(f"unknown reconstruct.scheduler {name!r}; known: {', '.join(SCHEDULERS)}")
    import diffusers

    kind = getattr(diffusers, SCHEDULERS[name])
    # DPM-Solver would take the first three channels of a network that also predicts variances,
    # which are not all there are of a latent; the loop has cut the variances off already.
    more = {"variance_type": None} if name == "dpmpp" else {}
    try:
        return kind.from_pretrained(folder, subfolder="scheduler", local_files_only=True, **more)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no scheduler: {error}") from error
