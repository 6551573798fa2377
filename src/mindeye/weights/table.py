"""Published models that a run can use: one table of ids, revisions, files, sizes and licences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PICKLE_NAMES = {
    "model": "pytorch_model",
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "open_clip_model": "open_clip_pytorch_model",
}
"""Stem of a weights file as safetensors -> as pickle, as the libraries name the two."""


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
        Weights files that are needed, as safetensors, relative to the folder.
    settings
        Other files that are needed.
    size
        About how many bytes `weights` are in the format they are published in.
    size_source
        Where `size` is from.
    format
        ``pickle`` where the revision has no safetensors; such files are downloaded only on request
        and rewritten as safetensors at once.
    licence
        As the model card names it.
    use
        What it is for here.
    note
        What one should know before relying on it.
    """

    id: str
    revision: str
    weights: tuple[str, ...]
    settings: tuple[str, ...]
    size: int
    size_source: str
    format: Literal["safetensors", "pickle"]
    licence: str
    use: str
    note: str = ""

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which cannot move as tags and branches can."""
        return len(self.revision) == 40 and set(self.revision) <= set("0123456789abcdef")


def pickle_of(weights: str) -> str:
    """Return what a safetensors file is called where it is published as a pickle."""
    folder, slash, name = weights.rpartition("/")
    stem = name.removesuffix(".safetensors")
    return f"{folder}{slash}{PICKLE_NAMES.get(stem, stem)}.bin"


def split_name(name: str) -> tuple[str, str]:
    """Split ``ORG/NAME/INSIDE`` into the hub id and the path inside of it, "" for all of it."""
    parts = name.strip("/").split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


_KL = "83.65 M parameters of the SD 1.x autoencoder, float32"
_TOWER = ("config.json", "preprocessor_config.json")

_ALL = (
    Model(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        ("model.safetensors",), _TOWER,
        1_710_540_580, "428 M parameters, float32", "safetensors", "MIT (code); check the card",
        "encoder: 257 x 768 tokens or 768 pooled (MindEye 1)",
    ),
    Model(
        "lambdalabs/sd-image-variations-diffusers", "v2.0",
        ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
         "image_encoder/model.safetensors"),
        ("unet/config.json", "vae/config.json", "image_encoder/config.json",
         "scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json",
         "model_index.json"),
        5_000_000_000, _KL, "pickle", "creativeml-openrail-m",
        "generator from 1 x 768; its vae is MindEye 1's low level",
    ),
    Model(
        "shi-labs/versatile-diffusion",
        "2926f8e11ea526b562cd592b099fcf9c2985d0b7",
        ("image_unet/diffusion_pytorch_model.safetensors",
         "vae/diffusion_pytorch_model.safetensors", "image_encoder/model.safetensors"),
        ("image_unet/config.json", "vae/config.json", "image_encoder/config.json",
         "scheduler/scheduler_config.json", "image_feature_extractor/preprocessor_config.json",
         "model_index.json"),
        5_000_000_000, _KL, "pickle", "mit",
        "generator from 257 x 768 (MindEye 1)",
    ),
)  # fmt: skip

MODELS: dict[str, Model] = {model.id: model for model in _ALL}
"""Every model by its hub id; a new one is a line above."""
