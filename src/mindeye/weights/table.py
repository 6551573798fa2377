"""Published models that a run can use, as models.yaml beside this file lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from mindeye.errors import ConfigError

PICKLE_NAMES = {
    "model": "pytorch_model",
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "open_clip_model": "open_clip_pytorch_model",
}
"""Stem of a weights file as safetensors -> as pickle, as the libraries name the two."""


class Weights(NamedTuple):
    """A weights file: its path as safetensors within the model's folder, about how many bytes."""

    path: str
    about: int


@dataclass(frozen=True)
class Model:
    """A published model.

    Parameters
    ----------
    id
        Hub id, ``ORG/NAME``.
    revision
        Commit, tag or branch that is downloaded.
    weights
        Weights files that are needed; one may be there in shards or, if allowed, as a pickle.
    settings
        Small files that are needed beside them.
    format
        ``pickle`` where the revision is known to have no safetensors; such files are downloaded
        only on request and rewritten as safetensors at once.
    licence
        Licence as the model card names it.
    use
        Purpose of the model in this package.
    note
        What one should know before relying on it; where the revision and sizes are from.
    """

    id: str
    revision: str
    weights: tuple[Weights, ...]
    settings: tuple[str, ...]
    format: Literal["safetensors", "pickle"]
    licence: str
    use: str
    note: str

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which cannot move as tags and branches can."""
        return is_commit(self.revision)

    @property
    def size(self) -> int:
        """About how many bytes all its weights are."""
        return sum(file.about for file in self.weights)

    def wanted(self, inside: str = "") -> tuple[Weights, ...]:
        """Return the weights files below a folder, or the one of that name; all for "".

        Raises
        ------
        ConfigError
            If the table lists none there; names those it lists.
        """
        found = tuple(f for f in self.weights if within(f.path, inside))
        if not found:
            known = ", ".join(file.path for file in self.weights)
            raise ConfigError(f"{self.id} has no weights known at {inside!r}; known: {known}")
        return found


def within(path: str, inside: str) -> bool:
    """Whether a path is that file or lies below that folder; every path is within ""."""
    return not inside or path == inside or path.startswith(f"{inside}/")


def is_commit(revision: str) -> bool:
    """Tell a full commit hash from a tag or branch."""
    return len(revision) == 40 and set(revision) <= set("0123456789abcdef")


def pickle_of(weights: str) -> str:
    """Return what a safetensors file is called where it is published as a pickle."""
    folder, slash, name = weights.rpartition("/")
    stem = name.removesuffix(".safetensors")
    return f"{folder}{slash}{PICKLE_NAMES.get(stem, stem)}.bin"


def split_name(name: str) -> tuple[str, str]:
    """Split ``ORG/NAME/INSIDE`` into the hub id and the path inside of it, "" for all of it."""
    parts = name.strip("/").split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


def _read_table() -> dict[str, Model]:
    """Read models.yaml, the table itself."""
    content = yaml.safe_load(Path(__file__).with_name("models.yaml").read_text(encoding="utf-8"))
    return {identity: _model(identity, **entry) for identity, entry in content.items()}


def _model(identity: str, weights: dict[str, int], settings: list[str], **facts: Any) -> Model:
    files = tuple(Weights(path, about) for path, about in weights.items())
    return Model(id=identity, weights=files, settings=tuple(settings), **facts)


MODELS: dict[str, Model] = _read_table()
"""Every model by its hub id; a new one is an entry of models.yaml."""

_IP = "h94/IP-Adapter"
ADAPTER_BASES: dict[str, tuple[str, str]] = {
    f"{_IP}/models/ip-adapter_sd15.safetensors": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5", f"{_IP}/models/image_encoder",
    ),
    f"{_IP}/sdxl_models/ip-adapter_sdxl.safetensors": (
        "stabilityai/stable-diffusion-xl-base-1.0", f"{_IP}/sdxl_models/image_encoder",
    ),
    f"{_IP}/sdxl_models/ip-adapter_sdxl_vit-h.safetensors": (
        "stabilityai/stable-diffusion-xl-base-1.0", f"{_IP}/models/image_encoder",
    ),
}  # fmt: skip
"""Adapter file -> (base model it was trained on, encoder of the embeddings it takes)."""
