"""CLIP through open_clip: ResNets and Vision Transformers, from a folder in its hub layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, MissingDependencyError
from mindeye.targets.encoders.base import Facts, NetworkEncoder, folder_fingerprint
from mindeye.targets.encoders.preprocessing import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    Preprocessing,
    blank,
)
from mindeye.weights.pretrained import read_settings

SETTINGS = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")


class OpenClipEncoder(NetworkEncoder):
    """A CLIP vision tower of `open_clip`, all tokens of its last layer in the shared space.

    A transformer's tokens go through `ln_post` and `proj`, those of a ResNet come out of its
    attention pooling with every position as a query, where the network itself asks for the first
    alone. Either way token 0 is CLIP's own image embedding, by whose norm all are divided.

    Parameters
    ----------
    folder
        Local folder with `open_clip_config.json` and its weights as safetensors.
    name
        Name of the encoder, its `id`.
    device
        Device that the network runs on.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        settings = read_settings(folder / SETTINGS)
        tower = _tower(folder, settings)
        preprocessing = _preprocessing(tower, settings.get("preprocess_cfg") or {}, folder)
        with torch.inference_mode():
            tokens, width = open_clip_tokens(tower, blank(preprocessing.size)).shape[1:]
        fingerprint = folder_fingerprint(folder, "open_clip_torch", "torchvision")
        facts = Facts(name, tokens, width, width, preprocessing, fingerprint)
        super().__init__(tower, facts, device=device)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return open_clip_tokens(self.model, pixels)


def weights_in(folder: Path) -> Path | None:
    """Return the weights of a folder in open_clip's hub layout, None if there are none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _tower(folder: Path, settings: dict[str, Any]) -> Any:
    """Return the vision tower of the model in a folder; the text tower is dropped."""
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependencyError("open_clip", "encoders") from error
    from safetensors import SafetensorError

    if weights_in(folder) is None:
        raise CheckpointError(
            f"{folder} has {SETTINGS} but none of {', '.join(WEIGHTS)}; fetch the model again"
        )
    text = settings.get("model_cfg", {}).get("text_cfg", {})
    if isinstance(text, dict) and text.get("hf_model_name"):
        raise CheckpointError(
            f"{folder}: its text tower is {text['hf_model_name']}, which open_clip would look for "
            "online; only models whose text tower is open_clip's own are read"
        )
    try:
        model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", device="cpu")
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(f"{folder} holds no open_clip model: {reason}") from error
    _check_tower(model.visual, folder)
    return model.visual.eval()  # before it sees anything: batch norms would learn from it


def _check_tower(tower: Any, folder: Path) -> None:
    """Refuse towers whose first token is not the image embedding."""
    plain = hasattr(tower, "ln_post") and getattr(tower, "pool_type", "") == "tok"
    plain = plain and tower.attn_pool is None and not tower.final_ln_after_pool
    if not plain and not hasattr(tower, "attnpool"):
        raise CheckpointError(
            f"{folder}: a tower of type {type(tower).__name__} that does not pool by a class "
            "token is not known here; known are open_clip's ModifiedResNet (RN50 ...) and "
            "VisionTransformer (ViT-B-32, ViT-H-14, ViT-bigG-14 ...)"
        )


def _preprocessing(tower: Any, own: dict[str, Any], folder: Path) -> Preprocessing:
    size = tower.image_size
    size = int(size[0] if isinstance(size, (tuple, list)) else size)
    mode = own.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash"):
        raise CheckpointError(f"{folder}: resize_mode {mode!r} in {SETTINGS} is not known here")
    return Preprocessing(
        size,
        tuple(own.get("mean") or CLIP_MEAN),
        tuple(own.get("std") or CLIP_DEVIATION),
        size if mode == "shortest" else None,
        own.get("interpolation") or "bicubic",
    )


def open_clip_tokens(tower: Any, pixels: Tensor) -> Tensor:
    """Return tokens (N, K, D) in the shared space, the image embedding first."""
    inner = tower.attnpool if hasattr(tower, "attnpool") else tower.transformer
    captured: list[Tensor] = []
    if hasattr(tower, "attnpool"):
        hook = inner.register_forward_pre_hook(lambda _, given: captured.append(given[0]))
    else:
        hook = inner.register_forward_hook(lambda _, __, output: captured.append(output))
    try:
        tower(pixels)
    finally:
        hook.remove()
    if hasattr(tower, "attnpool"):
        return _pooled_everywhere(tower.attnpool, captured[0])
    tokens: Tensor = tower.ln_post(captured[0])
    return tokens if tower.proj is None else tokens @ tower.proj


def _pooled_everywhere(pool: Any, grid: Tensor) -> Tensor:
    """Ask an attention pooling from every position of a grid (N, C, h, w), their mean first."""
    places = grid.flatten(2).transpose(1, 2)
    places = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    places = places + pool.positional_embedding
    parts = (f(places).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
             for f in (pool.q_proj, pool.k_proj, pool.v_proj))  # fmt: skip
    mixed = torch.nn.functional.scaled_dot_product_attention(*parts)
    tokens: Tensor = pool.c_proj(mixed.transpose(1, 2).flatten(2))
    return tokens
