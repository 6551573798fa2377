"""From tokens and latents to pictures: candidates are drawn in batches, the brain picks one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mindeye.data.images import resize
from mindeye.errors import ConfigError
from mindeye.generation.generators import Generator
from mindeye.losses.contrastive import unit_rows
from mindeye.progress import track
from mindeye.targets.encoders import Encoder, check_images


@dataclass(frozen=True)
class Reconstructions:
    """Picked pictures and how they were picked.

    Parameters
    ----------
    images
        (S, 3, H, W) in [0, 1].
    pick
        (S,) index of the picked candidate.
    scores
        (S, n) cosine of every candidate's embedding to the brain embedding.
    """

    images: Tensor
    pick: Tensor
    scores: Tensor


def candidate_seeds(seed: int, stimuli: int, candidates: int, purpose: int) -> list[int]:
    """Return one seed a (stimulus, candidate), stimulus-major; another purpose, other seeds."""
    base = (seed * 1_000_003 + purpose * 50_021) % 2**30
    return [
        base + stimulus * 65_537 + candidate
        for stimulus in range(stimuli)
        for candidate in range(candidates)
    ]


def draw_batches(
    generator: Generator,
    tokens: Tensor,
    *,
    seeds: list[int],
    start: Tensor | None,
    batch_size: int,
    name: str,
) -> Iterator[Tensor]:
    """Yield images of tokens (N, K, D), at most `batch_size` at a time; see `draw_candidates`."""
    for first in track(range(0, len(tokens), batch_size), name):
        block = slice(first, first + batch_size)
        yield generator.generate(
            tokens[block], seeds=seeds[block], start=None if start is None else start[block]
        )


def draw_candidates(
    generator: Generator,
    tokens: Tensor,
    *,
    seeds: list[int],
    start: Tensor | None,
    batch_size: int,
    name: str,
) -> Tensor:
    """Return images (N, 3, H, W) of tokens (N, K, D), all of them in memory.

    Parameters
    ----------
    generator
        Draws them.
    tokens
        One row a candidate.
    seeds
        One a candidate.
    start
        (N, C, h, w) latents to start from, or None.
    batch_size
        Pictures drawn at once.
    name
        Shown in the progress bar.
    """
    return torch.cat(
        list(
            draw_batches(
                generator, tokens, seeds=seeds, start=start, batch_size=batch_size, name=name
            )
        )
    )


@dataclass(frozen=True)
class Choice:
    """How one of several candidates is picked.

    The truth is no part of it: this is the published second-order selection, by the brain. It is
    made in the space that the brain is decoded into, so by the run's encoder: another encoder's
    space holds no brain embedding to compare a candidate with.

    Parameters
    ----------
    encoder
        Embeds the candidates.
    candidates
        n a stimulus.
    by
        ``tokens``, all of them as one vector; ``pooled``, the class token or, without one, the
        mean token; ``first``, always candidate 0 (scores are still those of all tokens).
    """

    encoder: Encoder
    candidates: int
    by: Literal["tokens", "pooled", "first"] = "tokens"

    def compared(self, tokens: Tensor) -> Tensor:
        """Return unit rows (N, K D) or (N, D), of which the cosine is taken."""
        tokens = tokens.float()
        if self.by == "pooled":
            first = self.encoder.has_class_token
            tokens = tokens[:, :1] if first else tokens.mean(dim=1, keepdim=True)
        return unit_rows(tokens)

    def pick(self, images: Tensor, embedded: Tensor, brain: Tensor) -> Reconstructions:
        """Pick one of n images a stimulus.

        Parameters
        ----------
        images
            (S * n, 3, H, W), stimulus-major.
        embedded
            (S * n, ...) of them, as `compared` gives them.
        brain
            (S, K, D) contrastive tokens.
        """
        groups = torch.unflatten(embedded, 0, (-1, self.candidates))  # (S, n, K D)
        scores = torch.einsum("snd,sd->sn", groups, self.compared(brain))
        pick = torch.zeros(len(scores), dtype=torch.int64)
        if self.by != "first":
            pick = scores.argmax(dim=1)
        chosen = torch.unflatten(images, 0, (-1, self.candidates))[torch.arange(len(pick)), pick]
        return Reconstructions(chosen, pick, scores)


def pick_streamed(
    batches: Iterable[Tensor], brain: Tensor, choice: Choice
) -> Iterator[Reconstructions]:
    """Pick as candidates come, so that only a batch and one stimulus's candidates are held.

    Parameters
    ----------
    batches
        Images, stimulus-major, in batches that need not end where a stimulus does.
    brain
        (S, K, D) contrastive tokens.
    choice
        How one is picked.
    """
    images, embedded, done = torch.empty(0), torch.empty(0), 0
    for batch in batches:
        encoded = choice.compared(choice.encoder.encode(batch))
        images = torch.cat([images, batch]) if len(images) else batch
        embedded = torch.cat([embedded, encoded]) if len(embedded) else encoded
        whole = len(images) // choice.candidates
        if not whole:
            continue
        rows = whole * choice.candidates
        yield choice.pick(images[:rows], embedded[:rows], brain[done : done + whole])
        images, embedded, done = images[rows:].clone(), embedded[rows:].clone(), done + whole


def pick_by_brain(
    images: Tensor, brain: Tensor, encoder: Encoder, *, candidates: int, batch_size: int
) -> Reconstructions:
    """Pick, for every stimulus, the candidate nearest to the brain embedding (cosine, all tokens).

    Parameters
    ----------
    images
        (S * n, 3, H, W), stimulus-major.
    brain
        (S, K, D) contrastive tokens.
    encoder
        Embeds the candidates.
    candidates
        Number n of candidates of every stimulus.
    batch_size
        Pictures embedded at once.
    """
    choice = Choice(encoder, candidates)
    parts = [encoder.encode(part) for part in torch.split(images, batch_size)]
    return choice.pick(images, choice.compared(torch.cat(parts)), brain)


def blend(images: Tensor, low: Tensor, share: float) -> Tensor:
    """Mix low-level pictures (S, 3, h, w) into images (S, 3, H, W), `share` of the result.

    No part of the published method of the first paper; for comparison, by name.

    Raises
    ------
    ConfigError
        If the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ConfigError(f"reconstruct.blend is {share}; it must be in [0, 1)")
    check_images(images)
    check_images(low)
    return (1 - share) * images + share * resize(low.to(images), images.shape[-1])
