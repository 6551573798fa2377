"""The stage that embeds the stimuli, and looks at every model that the run names."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from pathlib import Path

import torch

from mindeye.data.seeds import derive_seed
from mindeye.generation.generators import Generator, load_generator
from mindeye.models.adopted import adopt_high, adopt_low
from mindeye.stages.workspace import Workspace
from mindeye.targets.augment import recolour
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder
from mindeye.targets.store import write_embeddings
from mindeye.targets.views import write_views

Prepare = Callable[[torch.Tensor, range], torch.Tensor]


def generator_of(work: Workspace) -> Generator | None:
    """Load the run's generator."""
    config = work.config
    return load_generator(
        config.targets.generator,
        work.encoder,
        work.vae,
        steps=config.reconstruct.steps,
        guidance=config.reconstruct.guidance,
        strength=config.reconstruct.strength,
        device=work.device,
    )


def refuse_misfits(work: Workspace) -> None:
    """Refuse given weights that do not fit the run, before anything is trained.

    Raises
    ------
    CheckpointError
        As `adopt_high` and `adopt_low`.
    """
    high, low = work.config.high, work.config.low
    if work.config.high_enabled and high.weights:
        adopt_high(Path(high.weights), work.sizes, high)
    if work.config.low_enabled and low.weights:
        adopt_low(Path(low.weights), work.sizes)


def embed(work: Workspace) -> None:
    """Embed every stimulus: tokens, their augmented views, latents.

    All models that are given by name are looked at first, so that one that is missing or does not
    fit is told now and not after a training.
    """
    refuse_misfits(work)
    generator_of(work)
    folder = work.folder / "embed"
    encoder, vae, pictures = work.encoder, work.vae, work.subject.pictures
    seed, size = work.config.seed, work.config.targets.batch_size

    def recoloured(images: torch.Tensor, rows: range) -> torch.Tensor:
        return recolour(images, seeds=[derive_seed(seed, row) for row in rows])

    jobs: dict[str, tuple[Encoder | Autoencoder, Prepare | None]] = {
        "tokens": (encoder, None),
        "latents": (vae, None),
    }
    if maps_shape(work) is not None:
        jobs["tokens_recoloured"] = (encoder, recoloured)
    for name, (model, prepare) in jobs.items():
        write_embeddings(
            folder,
            name,
            model.encode,
            pictures,
            fingerprint=work.store_fingerprint(model),
            batch_size=size,
            prepare=prepare,
        )
    if work.config.targets.augmentation == "cached":
        write_views(
            folder,
            encoder,
            pictures,
            seed=seed,
            count=work.config.targets.views,
            fingerprint=work.store_fingerprint(encoder),
            batch_size=size,
            size=encoder.size,
        )


def maps_shape(work: Workspace) -> tuple[int, int] | None:
    """Return (P, M) of the maps the low-level pipeline is contrasted with, None for none.

    The maps are the encoder's patch tokens, without a class token where there is one.
    """
    if not work.config.low_enabled or work.config.low.contrastive_weight == 0:
        return None
    tokens = work.encoder.tokens
    patches = tokens if isqrt(tokens) ** 2 == tokens else tokens - 1
    return (patches, work.encoder.width)
