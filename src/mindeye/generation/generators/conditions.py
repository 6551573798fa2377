"""How a U-Net is told what to draw: what each family of published models takes beside the latents.

Every condition makes the arguments for both halves of classifier-free guidance itself, so that none
can be forgotten (`diffusers` takes a tensor that lacks the negative half of an IP-Adapter and
splits it into wrong batches without a word).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mindeye.errors import CheckpointError
from mindeye.generation.generators.base import Space
from mindeye.weights.pretrained import open_part, read_settings


class Condition(Protocol):
    """Makes a U-Net's arguments of embeddings.

    Attributes
    ----------
    space
        The embeddings it takes.
    """

    @property
    def space(self) -> Space:
        """The embeddings it takes."""
        ...

    def arguments(
        self, embeddings: Tensor, generators: Sequence[torch.Generator], *, guided: bool
    ) -> dict[str, Any]:
        """Return keyword arguments of the U-Net, of 2 N rows (without, with) under guidance.

        Parameters
        ----------
        embeddings
            (N, K, D).
        generators
            One a picture, for conditions that are noised.
        guided
            Whether the unconditional half comes first.
        """
        ...


def both_halves(given: Tensor, without: Tensor | None, *, guided: bool) -> Tensor:
    """Return (2 N, ...): rows without, then with the condition; (N, ...) without guidance.

    Parameters
    ----------
    given
        (N, ...).
    without
        (1, ...) the unconditional row, None for zeros.
    guided
        Whether there are two halves.
    """
    if not guided:
        return given
    empty = torch.zeros_like(given) if without is None else without.to(given).expand_as(given)
    return torch.cat([empty, given])


@dataclass(frozen=True)
class CrossAttention:
    """Tokens that the U-Net cross-attends to: Versatile Diffusion, SD image variations, the zoo.

    Parameters
    ----------
    space
        The tokens.
    unconditional
        (1, K, D) tokens of the unconditional half, None for zeros.
    """

    space: Space
    unconditional: Tensor | None = None

    def arguments(
        self, embeddings: Tensor, generators: Sequence[torch.Generator], *, guided: bool
    ) -> dict[str, Any]:
        """Return `encoder_hidden_states`."""
        del generators
        return {"encoder_hidden_states": both_halves(embeddings, self.unconditional, guided=guided)}


@dataclass(frozen=True)
class ImageEmbedding:
    """A pooled embedding beside the time embedding: the decoder of Kandinsky 2.2.

    Parameters
    ----------
    space
        One token.
    unconditional
        (1, 1, D) of the unconditional half, None for zeros.
    """

    space: Space
    unconditional: Tensor | None = None

    def arguments(
        self, embeddings: Tensor, generators: Sequence[torch.Generator], *, guided: bool
    ) -> dict[str, Any]:
        """Return `added_cond_kwargs` with `image_embeds` (M, D)."""
        del generators
        both = both_halves(embeddings, self.unconditional, guided=guided)
        return {"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": both[:, 0]}}


@dataclass(frozen=True)
class Prompt:
    """The text side of a text-to-image model, of an empty prompt or zeros.

    Parameters
    ----------
    given, without
        (1, L, D) of the conditional and the unconditional half.
    pooled, pooled_without
        (1, P) for SDXL, else None.
    """

    given: Tensor
    without: Tensor
    pooled: Tensor | None = None
    pooled_without: Tensor | None = None

    def states(self, like: Tensor, *, guided: bool) -> Tensor:
        """Return `encoder_hidden_states` for as many rows as `like` has."""
        rows = self.given.to(like).expand(len(like), -1, -1)
        return both_halves(rows, self.without, guided=guided)


@dataclass(frozen=True)
class ImagePrompt:
    """An IP-Adapter's image embedding beside an empty text prompt, on SD 1.x or SDXL.

    Parameters
    ----------
    space
        One token.
    prompt
        The text side.
    time_ids
        SDXL's (original height, width, crop top, left, target height, width), else None.
    """

    space: Space
    prompt: Prompt
    time_ids: tuple[int, ...] | None = None

    def arguments(
        self, embeddings: Tensor, generators: Sequence[torch.Generator], *, guided: bool
    ) -> dict[str, Any]:
        """Return text states, and `image_embeds` as a list of one (M, 1, D); zeros are negative."""
        del generators
        added: dict[str, Any] = {"image_embeds": [both_halves(embeddings, None, guided=guided)]}
        if self.time_ids is not None and self.prompt.pooled is not None:
            pooled = self.prompt.pooled.to(embeddings).expand(len(embeddings), -1)
            added["text_embeds"] = both_halves(pooled, self.prompt.pooled_without, guided=guided)
            ids = torch.tensor([self.time_ids], dtype=embeddings.dtype, device=embeddings.device)
            added["time_ids"] = ids.repeat(len(added["text_embeds"]), 1)
        return {
            "encoder_hidden_states": self.prompt.states(embeddings, guided=guided),
            "added_cond_kwargs": added,
        }


@dataclass(frozen=True)
class NoisedLabel:
    """An embedding with a little noise as class label: unCLIP, at its noise level 0.

    Even at level 0 the published pipeline adds the first step's noise to the embedding; here it
    comes from the picture's own generator, before the latents' noise, as there.

    Parameters
    ----------
    space
        One token.
    prompt
        The text side.
    noised
        (embeddings (N, D), generators) -> class labels (N, 2 D).
    """

    space: Space
    prompt: Prompt
    noised: Any

    def arguments(
        self, embeddings: Tensor, generators: Sequence[torch.Generator], *, guided: bool
    ) -> dict[str, Any]:
        """Return text states and `class_labels` (M, 2 D); zeros are negative."""
        labels = self.noised(embeddings[:, 0], generators).to(embeddings)
        return {
            "encoder_hidden_states": self.prompt.states(embeddings, guided=guided),
            "class_labels": both_halves(labels, None, guided=guided),
        }


PROMPT_TOKENS = 77
"""Length of CLIP's text, which all of these models were trained on."""


def zero_prompt(unet: Any) -> Prompt:
    """Return zeros in place of an empty prompt."""
    states = torch.zeros(1, PROMPT_TOKENS, int(unet.config.cross_attention_dim))
    if unet.config.addition_embed_type != "text_time":
        return Prompt(states, states)
    ids = 6 * int(unet.config.addition_time_embed_dim)
    pooled = torch.zeros(1, int(unet.config.projection_class_embeddings_input_dim) - ids)
    return Prompt(states, states, pooled, pooled)


def empty_prompt(folder: Path, unet: Any) -> Prompt:
    """Return what the folder's text encoders make of "", or zeros if there are none.

    Raises
    ------
    CheckpointError
        If a text encoder or tokenizer is there but cannot be read.
    """
    if not (folder / "text_encoder" / "config.json").is_file():
        return zero_prompt(unet)
    parts = {"text_encoder": open_part("CLIPTextModel", folder, "text_encoder")}
    parts["tokenizer"] = _tokenizer(folder, "tokenizer")
    if unet.config.addition_embed_type == "text_time":
        return _two_towers(folder, unet, parts)
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=None, unet=unet, scheduler=None, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, **parts,
    )  # fmt: skip
    with torch.inference_mode():
        given, without = pipeline.encode_prompt("", torch.device("cpu"), 1, True)
    return Prompt(given, without)


def _two_towers(folder: Path, unet: Any, parts: dict[str, Any]) -> Prompt:
    """Return SDXL's empty prompt; its negative half is zeros where its settings say so."""
    from diffusers import StableDiffusionXLPipeline

    parts["text_encoder_2"] = open_part("CLIPTextModelWithProjection", folder, "text_encoder_2")
    parts["tokenizer_2"] = _tokenizer(folder, "tokenizer_2")
    index = read_settings(folder / "model_index.json")
    pipeline = StableDiffusionXLPipeline(
        vae=None, unet=unet, scheduler=None, add_watermarker=False,
        force_zeros_for_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", True)),
        **parts,
    )  # fmt: skip
    with torch.inference_mode():
        given, without, pooled, pooled_without = pipeline.encode_prompt("", device="cpu")
    return Prompt(given, without, pooled, pooled_without)


def _tokenizer(folder: Path, part: str) -> Any:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, subfolder=part, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / part} holds no CLIP tokenizer: {error}") from error
