"""Reading a generator's folder: settings, and parts as `diffusers` and `transformers` save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mindeye.errors import CheckpointError


def read_settings(path: Path) -> dict[str, Any]:
    """Return a JSON object of a model's folder.

    Raises
    ------
    CheckpointError
        If the file is missing or no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch the model again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no JSON object; fetch the model again")
    return found


def variant_of(folder: Path) -> str | None:
    """Return ``fp16`` where a part has its weights in that variant only."""
    plain = [p for p in folder.glob("*.safetensors") if ".fp16." not in p.name]
    half = list(folder.glob("*.fp16*.safetensors"))
    return "fp16" if half and not plain else None


def load_part(kind: str, folder: Path, part: str) -> Any:
    """Return a part of a pipeline's folder, for inference, in float32; safetensors only.

    Parameters
    ----------
    kind
        Class of `diffusers`, or of `transformers`.
    folder
        The pipeline's folder.
    part
        Its subfolder.

    Raises
    ------
    CheckpointError
        If the part is missing, torn or a pickle.
    """
    import diffusers
    import transformers
    from diffusers.pipelines import stable_diffusion

    quiet()
    ours = getattr(diffusers, kind, None) or getattr(stable_diffusion, kind, None)
    model = getattr(transformers, kind) if ours is None else ours
    dtype = "torch_dtype" if ours is not None else "dtype"
    try:
        made = model.from_pretrained(
            folder, subfolder=part, local_files_only=True, use_safetensors=True,
            variant=variant_of(folder / part), **{dtype: torch.float32},
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(f"{folder / part} holds no {kind}: {first}") from error
    return made.eval().requires_grad_(False)


def quiet() -> None:
    """Silence the libraries' progress bars and notes; what matters is said by named errors."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
