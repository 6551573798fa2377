"""What each kind of published folder holds, and the condition it is drawn under.

A kind is told from the folder's own `model_index.json`; layouts are those that `save_pretrained` of
the `diffusers` pipelines (0.42) writes, and of the published repositories named in `backends`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.errors import CheckpointError, ConfigError
from mindeye.generation.generators.base import Space
from mindeye.generation.generators.conditions import (
    Condition,
    CrossAttention,
    ImageEmbedding,
    NoisedLabel,
    empty_prompt,
)
from mindeye.targets.encoders import Encoder
from mindeye.weights.pretrained import open_part, read_settings

NEARLY_BLACK = 0.5 / 255
"""Versatile Diffusion's pipeline encodes a picture of 0.5 that its processor divides by 255."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""CLIP's mean colour: a picture of it is all zeros to the network, Kandinsky's zero embedding."""
VD_TOKENS = 257


@dataclass(frozen=True)
class Request:
    """What a kind is built from.

    Parameters
    ----------
    folder
        The generator's.
    encoder
        The run's.
    config
        How pictures are drawn.
    """

    folder: Path
    encoder: Encoder
    config: ReconstructConfig

    def unconditional(
        self, colour: tuple[float, float, float] | None, *, own_norm: bool = False
    ) -> Tensor | None:
        """Return (1, K, D) of a picture of one colour where ``image`` is asked for, else None.

        Parameters
        ----------
        colour
            Colour of the picture (red, green, blue), each in [0, 1]; None if the pipeline has no
            such picture.
        own_norm
            Whether the generator takes embeddings at their own norm, not at norm 1.

        Raises
        ------
        ConfigError
            If the folder's pipeline has no such picture.
        """
        if self.config.unconditional == "zeros":
            return None
        if colour is None:
            raise ConfigError(
                f"reconstruct.unconditional=image: {self.folder} belongs to no pipeline with an "
                "unconditional picture of its own; set zeros"
            )
        # at the size the encoder takes, since resizing would round it to whole grey levels
        side = self.encoder.size
        picture = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, side, side)
        empty = self.encoder.encode(picture)
        if own_norm and self.encoder.normalisation == "class":
            norms = self.encoder.class_norms(picture)
            empty = empty * (self.config.norm if norms is None else float(norms[0]))
        return empty


@dataclass(frozen=True)
class Kind:
    """A kind of generator folder.

    Parameters
    ----------
    unet, vae
        Subfolders; no `vae` where it draws in the run's autoencoder.
    condition
        Makes the condition of the folder and its U-Net.
    """

    unet: str
    vae: str | None
    condition: Callable[[Request, Any], Condition]


def _bare(request: Request, unet: Any) -> Condition:
    request.unconditional(None)
    return CrossAttention(Space(None, int(unet.config.cross_attention_dim), "any"))


def _versatile(request: Request, unet: Any) -> Condition:
    tokens = VD_TOKENS
    settings = request.folder / "image_encoder" / "config.json"
    if settings.is_file():
        known = read_settings(settings)
        known = known.get("vision_config") or known
        tokens = (int(known["image_size"]) // int(known["patch_size"])) ** 2 + 1
    space = Space(tokens, int(unet.config.cross_attention_dim), "unit")
    empty = request.unconditional((NEARLY_BLACK,) * 3) if _fits(request, space) else None
    return CrossAttention(space, empty)


def _variation(request: Request, unet: Any) -> Condition:
    # The pipeline's own unconditional embedding is zeros, so both names mean the same here.
    del request
    return CrossAttention(Space(1, int(unet.config.cross_attention_dim), "own"))


def _kandinsky(request: Request, unet: Any) -> Condition:
    if unet.config.addition_embed_type != "image":
        raise CheckpointError(
            f"{request.folder}/unet takes {unet.config.addition_embed_type} beside the time "
            "embedding, not an image embedding; the decoder of Kandinsky 2.2 is meant"
        )
    space = Space(1, int(unet.config.encoder_hid_dim), "own")
    empty = request.unconditional(CLIP_MEAN, own_norm=True) if _fits(request, space) else None
    return ImageEmbedding(space, empty)


def _unclip(request: Request, unet: Any) -> Condition:
    from diffusers import StableUnCLIPImg2ImgPipeline

    folder = request.folder
    pipeline = StableUnCLIPImg2ImgPipeline(
        image_normalizer=open_part("StableUnCLIPImageNormalizer", folder, "image_normalizer"),
        image_noising_scheduler=_noising(folder),
        unet=unet, **dict.fromkeys(
            ("feature_extractor", "image_encoder", "tokenizer", "text_encoder", "scheduler", "vae")
        ),
    )  # fmt: skip

    def noised(embeddings: Tensor, generators: Any) -> Tensor:
        labels: Tensor = pipeline.noise_image_embeddings(
            embeddings.float(), 0, generator=list(generators)
        )
        return labels

    width = int(unet.config.projection_class_embeddings_input_dim) // 2
    return NoisedLabel(Space(1, width, "own"), empty_prompt(folder, unet), noised)


def _noising(folder: Path) -> Any:
    from diffusers import DDPMScheduler

    try:
        return DDPMScheduler.from_pretrained(
            folder, subfolder="image_noising_scheduler", local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no image_noising_scheduler: {error}") from error


def _fits(request: Request, space: Space) -> bool:
    """Whether the encoder's embeddings fit; if not, `load_generator` refuses right after."""
    return space.takes(request.encoder.tokens, request.encoder.width)


BARE = Kind("unet", None, _bare)
"""Only `unet` and `scheduler`, trained in the run's latents with tokens of the run's encoder."""

KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "VersatileDiffusionPipeline",
            "VersatileDiffusionImageVariationPipeline",
            "VersatileDiffusionDualGuidedPipeline",
        ),
        Kind("image_unet", "vae", _versatile),
    ),
    "StableDiffusionImageVariationPipeline": Kind("unet", "vae", _variation),
    **dict.fromkeys(
        ("KandinskyV22Pipeline", "KandinskyV22Img2ImgPipeline"),
        Kind("unet", "movq", _kandinsky),
    ),
    "StableUnCLIPImg2ImgPipeline": Kind("unet", "vae", _unclip),
}
"""`_class_name` of a folder's model_index.json -> how it is read."""

TEXT_PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
)
"""Take text; with an IP-Adapter they take image embeddings."""


def kind_of(folder: Path) -> Kind:
    """Return the kind of a folder.

    Raises
    ------
    ConfigError
        If the folder is of no known kind.
    """
    index = folder / "model_index.json"
    name = str(read_settings(index).get("_class_name")) if index.is_file() else ""
    if name in KINDS:
        return KINDS[name]
    if name in TEXT_PIPELINES:
        raise ConfigError(
            f"{folder} is a {name}, which draws from text; with an adapter it draws from image "
            f"embeddings: targets.generator=ip_adapter:{folder}:ADAPTER_FILE"
        )
    if name in ("", "DiffusionPipeline") and (folder / "unet" / "config.json").is_file():
        return BARE
    raise ConfigError(
        f"{folder} holds {name or 'no model_index.json'}; known kinds: {', '.join(KINDS)}, "
        "ip_adapter:BASE:ADAPTER_FILE, or a folder with only unet and scheduler"
    )
