"""Models of `transformers` and `diffusers` from a local folder: safetensors, whole, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError
from mindeye.files import read_json


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file of a model folder.

    Raises
    ------
    CheckpointError
        If it is missing, broken or no JSON object.
    """
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing, the folder is incomplete; fetch the model again"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is broken ({error}); fetch the model again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no settings of a model; fetch the model again")
    return content


def open_pretrained(model_class: Any, folder: Path, part: str = "") -> Any:
    """Load a model in float32 for inference: no network, no pickle, nothing left at random.

    Parameters
    ----------
    model_class
        Class of `transformers` or `diffusers` with `from_pretrained`.
    folder
        Folder of the model, or of the pipeline that it is a part of.
    part
        Name of the subfolder, "" for the folder itself.

    Returns
    -------
    nn.Module
        The model in eval mode, without gradients.

    Raises
    ------
    CheckpointError
        If the folder does not hold such a model with all of its weights.
    """
    import torch
    from safetensors import SafetensorError

    quiet()
    where, name = folder / part, model_class.__name__
    dtype = "torch_dtype" if model_class.__module__.startswith("diffusers") else "dtype"
    try:
        model, found = model_class.from_pretrained(
            folder,
            subfolder=part,
            local_files_only=True,
            use_safetensors=True,
            variant=_variant(where),
            output_loading_info=True,
            **{dtype: torch.float32},
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300] or repr(error)
        raise CheckpointError(f"{where} holds no {name}: {reason}") from error
    # from_pretrained would draw them at random and only warn.
    absent = sorted(found["missing_keys"]) or sorted(map(str, found.get("mismatched_keys") or ()))
    if absent:
        raise CheckpointError(
            f"{where} holds no {name}: {len(absent)} of its weights are missing, such as "
            f"{absent[0]}"
        )
    return model.eval().requires_grad_(False)


def open_part(name: str, folder: Path, part: str) -> Any:
    """Load a part of a pipeline's folder by the name of its class; see `open_pretrained`."""
    import diffusers
    import transformers
    from diffusers.pipelines import stable_diffusion

    places = (diffusers, stable_diffusion, transformers)
    model_class = next(getattr(place, name) for place in places if hasattr(place, name))
    return open_pretrained(model_class, folder, part)


def quiet() -> None:
    """Silence the libraries' progress bars and notes; what matters is raised as an error."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _variant(folder: Path) -> str | None:
    """Return ``fp16`` where a folder has its weights in that variant only."""
    plain = [p for p in folder.glob("*.safetensors") if ".fp16." not in p.name]
    half = list(folder.glob("*.fp16*.safetensors"))
    return "fp16" if half and not plain else None
