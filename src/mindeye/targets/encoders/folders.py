"""What an encoder's folder says beside its weights: its hash and its preprocessing."""

from __future__ import annotations

import contextlib
import hashlib
from importlib import metadata
from pathlib import Path

from mindeye.errors import CheckpointError
from mindeye.files import sha256, versions
from mindeye.targets.encoders.preprocessing import Preprocessing, processor_preprocessing
from mindeye.weights.pretrained import read_settings

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
