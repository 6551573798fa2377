"""From tokens and latents to pictures: candidates are drawn in batches, the brain picks one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mindeye.generation.generators import Generator
from mindeye.losses.contrastive import unit_rows
from mindeye.progress import track
from mindeye.targets.encoders import Encoder


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


def draw_candidates(
    generator: Generator,
    tokens: Tensor,
    *,
    seeds: list[int],
    start: Tensor | None,
    batch_size: int,
    name: str,
) -> Tensor:
    """Return images (N, 3, H, W) of tokens (N, K, D), some at a time.

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
    parts = []
    for first in track(range(0, len(tokens), batch_size), name):
        block = slice(first, first + batch_size)
        parts.append(
            generator.generate(
                tokens[block],
                seeds=seeds[block],
                start=None if start is None else start[block],
            )
        )
    return torch.cat(parts)


def pick_by_brain(
    images: Tensor, brain: Tensor, encoder: Encoder, *, candidates: int, batch_size: int
) -> Reconstructions:
    """Pick, for every stimulus, the candidate nearest to the brain embedding (cosine).

    The truth is not an argument: this is the published second-order selection, by the brain.

    Parameters
    ----------
    images
        (S * n, 3, H, W), stimulus-major.
    brain
        (S, K, D) contrastive tokens.
    encoder
        Embeds the candidates.
    candidates
        n.
    batch_size
        Pictures embedded at once.
    """
    parts = [encoder.encode(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    embedded = torch.unflatten(
        unit_rows(torch.cat(parts).float()), 0, (-1, candidates)
    )  # (S, n, K D)
    scores = torch.einsum("snd,sd->sn", embedded, unit_rows(brain.float()))
    pick = scores.argmax(dim=1)
    chosen = torch.unflatten(images, 0, (-1, candidates))[torch.arange(len(pick)), pick]
    return Reconstructions(chosen, pick, scores)
