"""Folders and files of models as the table wants them, with tensors of a few numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from mindeye.weights.table import MODELS, pickle_of

CLIP = "openai/clip-vit-large-patch14"
VERSATILE = "shi-labs/versatile-diffusion"
ADAPTER = "h94/IP-Adapter"
STATE = {"a.weight": torch.arange(600.0).reshape(20, 30), "b": torch.ones(3, dtype=torch.float16)}


def safetensors_bytes() -> bytes:
    return bytes(save(STATE, metadata={"format": "pt"}))


def pickle_bytes(content: object = STATE) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def files_of(identity: str, *, pickled: bool = False) -> dict[str, bytes]:
    """Everything that the table wants of a model, by path."""
    model = MODELS[identity]
    files = {name: json.dumps({"of": name}).encode() for name in model.settings}
    for weights in model.weights:
        path = pickle_of(weights.path) if pickled else weights.path
        files[path] = pickle_bytes() if pickled else safetensors_bytes()
    return files


def write_model(folder: Path, identity: str, *, pickled: bool = False) -> Path:
    """Write a whole model into a folder."""
    for name, content in files_of(identity, pickled=pickled).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
