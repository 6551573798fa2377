"""What lies in a model's folder: its kind, its settings, its hash."""

from __future__ import annotations

import contextlib
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError
from mindeye.files import read_json, sha256, versions
from mindeye.targets.encoders.preprocessing import Preprocessing, processor_preprocessing

HASHED = (".safetensors", ".json")

PROCESSORS = (".", "../image_processor", "../feature_extractor", "../image_feature_extractor")
"""Where a processor lies from an encoder's folder, alone or in a pipeline of diffusers."""


def folder_fingerprint(folder: Path, *libraries: str) -> str:
    """Return a hash of a model folder's weights and of the libraries that run them.

    Parameters
    ----------
    folder
        The folder; of a file, the file alone counts.
    *libraries
        Distributions that decide the numbers beside those of `mindeye.files.versions`.
    """
    known = versions()
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            known[name] = metadata.version(name)
    digest = hashlib.sha256(repr(sorted(known.items())).encode())
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in paths:
        if path.suffix in HASHED:
            digest.update(f"{path.relative_to(folder)}:{sha256(path)}".encode())
    return digest.hexdigest()[:16]


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file of a model folder.

    Raises
    ------
    CheckpointError
        If it is missing or broken.
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


def preprocessing_of(folder: Path, default: Preprocessing | None = None) -> Preprocessing:
    """Read the processor that belongs to an encoder's folder.

    Raises
    ------
    CheckpointError
        If there is none and no default, or it is not understood.
    """
    for place in PROCESSORS:
        path = folder / place / "preprocessor_config.json"
        if path.is_file():
            return processor_preprocessing(read_settings(path), path)
    if default is None:
        raise CheckpointError(
            f"{folder} has no preprocessor_config.json, which says how pictures are resized and "
            "normalised; fetch the model again"
        )
    return default


def open_pretrained(model_class: Any, folder: Path, what: str) -> Any:
    """Load a model of transformers from a folder, safetensors only and nothing left at random.

    Raises
    ------
    CheckpointError
        If the folder does not hold such a model with all of its weights.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    # A whole CLIP folder holds a text tower too; that it is not used is no news.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, found = model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype="float32",
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(f"{folder} holds no {what}: {reason}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        # from_pretrained would draw them at random and only warn.
        raise CheckpointError(
            f"{folder} holds no {what}: {len(missing)} of its weights are missing, such as "
            f"{missing[0]}"
        )
    return model
