"""Sizes that flow from the data into the networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of a subject and of the spaces it is decoded into.

    Parameters
    ----------
    voxels
        V; differs between subjects (15,724 for subject 1 of NSD).
    tokens, width
        K and D of the target embeddings; 257 and 768 in the paper, 1 and 768 in its variant for
        large galleries.
    latents
        (C, h, w) of the autoencoder's latents.
    """

    voxels: int
    tokens: int
    width: int
    latents: tuple[int, int, int]
