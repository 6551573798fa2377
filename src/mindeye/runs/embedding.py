"""The stage that embeds the stimuli, and looks at every model that the run names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mindeye.generation.generators import Generator, load_generator
from mindeye.published.adopted import adopt_high, adopt_low
from mindeye.runs.workspace import Workspace
from mindeye.seeds import derive_seed
from mindeye.targets.augment import recolour
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder
from mindeye.targets.images import to_images
from mindeye.targets.store import write_embeddings
from mindeye.targets.views import write_views

MEASURED_PICTURES = 32
"""Training pictures by which the usual norm of an encoder's embeddings is measured."""

Prepare = Callable[[torch.Tensor, range], torch.Tensor]


def generator_of(work: Workspace) -> Generator | None:
    """Load the run's generator."""
    config, subject = work.config, work.subject
    measured = subject.pictures_of(subject.splits["train"][:MEASURED_PICTURES])
    return load_generator(
        config.targets.generator,
        work.encoder,
        work.vae,
        config=config.reconstruct,
        device=work.device,
        weights=work.weights,
        pictures=to_images(measured),
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


def embed(work: Workspace, key: str = "") -> None:
    """Embed every stimulus: tokens, their augmented views, latents, maps.

    Every process of a run makes this call. All models that are given by name are looked at first,
    so that one that is missing or does not fit is told now and not after a training.
    """
    del key
    if work.processes.is_first:
        refuse_misfits(work)
        generator_of(work)
    folder, targets, team = work.folder / "embed", work.config.targets, work.processes
    encoder, pictures, seed = work.encoder, work.subject.pictures, work.config.seed

    def recoloured(images: torch.Tensor, rows: range) -> torch.Tensor:
        return recolour(images, seeds=[derive_seed(seed, row) for row in rows])

    jobs: dict[str, tuple[Encoder | Autoencoder, Prepare | None]] = {
        "tokens": (encoder, None),
        "latents": (work.vae, None),
    }
    if maps_shape(work) is not None:
        plain, changed = maps_names(work)
        jobs[plain] = (work.maps_encoder, None)
        jobs[changed] = (work.maps_encoder, recoloured)
    for name, (model, prepare) in jobs.items():
        write_embeddings(
            folder,
            name,
            model.encode,
            pictures,
            fingerprint=work.store_fingerprint(model),
            batch_size=targets.batch_size,
            prepare=prepare,
            stored=targets.stored,
            team=team,
        )
    if targets.augmentation == "cached":
        write_views(
            folder,
            encoder,
            pictures,
            seed=seed,
            count=targets.views,
            fingerprint=work.store_fingerprint(encoder),
            batch_size=targets.batch_size,
            size=encoder.size,
            stored=targets.stored,
            team=team,
        )


def maps_names(work: Workspace) -> tuple[str, str]:
    """Return the arrays that hold maps: of the pictures, and of the same recoloured."""
    if work.config.targets.maps:
        return "maps", "maps_recoloured"
    return "tokens", "tokens_recoloured"


def maps_shape(work: Workspace) -> tuple[int, int] | None:
    """Return (P, M) of the maps the low-level pipeline is contrasted with, None for none.

    The maps are the patch tokens of `targets.maps`, or of the encoder itself, without a class
    token where there is one.
    """
    if not work.config.low_enabled or work.config.low.contrastive_weight == 0:
        return None
    encoder = work.maps_encoder
    return (encoder.tokens - int(encoder.has_class_token), encoder.width)
