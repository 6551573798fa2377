"""Image encoders: what turns pictures into the embeddings that a brain is decoded into."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, ConfigError
from mindeye.runs import read_json, sha256, versions
from mindeye.targets.images import resize
from mindeye.zoo import zoo_folder


class Encoder(Protocol):
    """Turns images into tokens.

    Attributes
    ----------
    id
        Name under which its metrics and embeddings are known.
    tokens, width
        K and D of its embeddings.
    size
        Side that pictures are resized to.
    fingerprint
        Hash of weights and of the library versions that decide the numbers.
    """

    id: str
    tokens: int
    width: int
    size: int
    fingerprint: str

    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) of images (N, 3, H, W) in [0, 1]."""
        ...


def folder_fingerprint(folder: Path) -> str:
    """Return a hash of a model folder's weights and of the libraries that run them."""
    digest = hashlib.sha256(repr(sorted(versions().items())).encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(f"{path.relative_to(folder)}:{sha256(path)}".encode())
    return digest.hexdigest()[:16]


class ClipEncoder:
    """A CLIP vision tower of `transformers`, all tokens of its last hidden layer.

    Tokens go through `post_layernorm` and `visual_projection` and are divided by the norm of the
    class token (published code of MindEye, `Clipper.embed_image`); token 0 is then the pooled,
    unit-norm embedding.

    Parameters
    ----------
    folder
        Local folder that `CLIPVisionModelWithProjection.from_pretrained` reads; safetensors only.
    name
        Its `id`.
    device
        Where it runs.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        from transformers import CLIPVisionModelWithProjection
        from transformers.utils import logging

        # A whole CLIP folder holds a text tower too; that it is not used is no news.
        logging.set_verbosity_error()
        logging.disable_progress_bar()

        try:
            model = CLIPVisionModelWithProjection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} holds no CLIP vision model: {error}") from error
        self.model = model.eval().requires_grad_(False).to(device)
        self.id = name
        self.size = int(model.config.image_size)
        self.tokens = (self.size // int(model.config.patch_size)) ** 2 + 1
        self.width = int(model.config.projection_dim)
        self.fingerprint = folder_fingerprint(folder)
        self.device = device
        processor = read_json(folder / "preprocessor_config.json")
        self.mean = torch.tensor(processor["image_mean"], device=device).view(1, 3, 1, 1)
        self.deviation = torch.tensor(processor["image_std"], device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D); the class token has norm 1."""
        pixels = (resize(images.to(self.device), self.size) - self.mean) / self.deviation
        vision = self.model.vision_model
        hidden = vision(pixel_values=pixels).last_hidden_state
        tokens: Tensor = self.model.visual_projection(vision.post_layernorm(hidden))
        scaled: Tensor = tokens / tokens[:, :1].norm(dim=-1, keepdim=True)
        return scaled.cpu()


class PooledEncoder:
    """The class token alone of a CLIP encoder, the paper's 1 x 768 variant for large galleries.

    The published code leaves this variant's targets at their own norm; here they have norm 1,
    like the class token among all tokens, so that a gallery of either serves both.

    Parameters
    ----------
    encoder
        The encoder of all tokens.
    """

    tokens = 1

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder
        self.size, self.width = encoder.size, encoder.width
        self.id = f"{encoder.id}_pooled"
        self.fingerprint = f"{encoder.fingerprint}/pooled"

    def encode(self, images: Tensor) -> Tensor:
        """Return class tokens (N, 1, D) of norm 1."""
        # A copy: a slice would keep the other 256 tokens in memory for as long as it lives.
        return self.encoder.encode(images)[:, :1].clone()


class PixelEncoder:
    """Grey pixels cut into patches: a target space for small sets of simple figures.

    Values lie in [0, 1] with black at 0, so that a dark background has no say in cosines.

    Parameters
    ----------
    size
        Side that pictures are resized to.
    patch
        Side of a patch; K = (size / patch)^2 tokens of D = patch^2 values.
    """

    def __init__(self, size: int, patch: int) -> None:
        if size % patch:
            raise ConfigError(f"pixels:{size}:{patch}: the patch must divide the size")
        self.id = f"pixels{size}"
        self.size, self.patch = size, patch
        self.tokens, self.width = (size // patch) ** 2, patch**2
        self.fingerprint = f"pixels-{size}-{patch}"

    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) of grey values in [0, 1]."""
        grey = resize(images, self.size).mean(dim=1, keepdim=True)
        patches = torch.nn.functional.unfold(grey, self.patch, stride=self.patch)
        return patches.transpose(1, 2).contiguous()

    def decode(self, tokens: Tensor) -> Tensor:
        """Return images (N, 3, size, size), the inverse of `encode` for grey pictures."""
        grey = torch.nn.functional.fold(
            tokens.transpose(1, 2), (self.size, self.size), self.patch, stride=self.patch
        )
        return grey.clamp(0, 1).expand(-1, 3, -1, -1)


def load_encoder(
    name: str, *, device: torch.device, tokens: Literal["all", "pooled"] = "all"
) -> Encoder:
    """Return an encoder by its config name.

    Parameters
    ----------
    name
        ``zoo``, ``pixels:SIZE:PATCH`` or a local folder with a CLIP model.
    device
        Where it runs.
    tokens
        ``all`` of them or ``pooled``, the class token alone.

    Raises
    ------
    ConfigError
        If the name is none of these, or pooled tokens are asked of an encoder without class token.
    """
    pixels = re.fullmatch(r"pixels:(\d+):(\d+)", name)
    if pixels:
        if tokens == "pooled":
            raise ConfigError(f"the encoder {name} has no class token; set targets.tokens=all")
        return PixelEncoder(int(pixels[1]), int(pixels[2]))
    if name == "zoo":
        clip = ClipEncoder(zoo_folder("clip"), "zoo_clip", device=device)
    elif Path(name).is_dir():
        clip = ClipEncoder(Path(name), Path(name).name, device=device)
    else:
        raise ConfigError(
            f"unknown encoder {name!r}; known: zoo, pixels:SIZE:PATCH, or a local CLIP model folder"
        )
    return PooledEncoder(clip) if tokens == "pooled" else clip
