"""What is drawn beside MindEye's pictures: baselines, floors and ceilings.

::

    RUN/reconstruct/mean_picture.npy    the mean training picture
        ceiling_vae.npy                 true latents, decoded
        ceiling_generator.npy           true tokens, drawn; ceiling_both.npy from true latents
        ridge.npy                       ridge tokens and latents (Brain-Diffuser's recipe)
        ridge_latents.npy               ridge latents, drawn without a condition (Takagi's recipe)
        knn.npy                         training picture of the nearest brain
        baselines.json                  what each baseline is, or why it is not there
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mindeye.data.images import to_pictures
from mindeye.files import read_json, write_array, write_json
from mindeye.generation.generators import Generator, LatentGenerator
from mindeye.generation.reconstruct import candidate_seeds, draw_batches
from mindeye.metrics.systems import SYSTEMS
from mindeye.runs.workspace import Workspace

PUBLISHED_STRENGTH = 0.8
"""Of Takagi & Nishimoto 2023 (public code `diffusion_decoding.py`: 50 DDIM steps, strength 0.8)."""


def draw_baselines(work: Workspace, generator: Generator | None) -> None:
    """Write the mean training picture, the ceilings and the baselines' pictures."""
    folder, count = work.folder / "reconstruct", len(work.drawn_ids)
    mean = work.subject.mean_picture("train")
    write_array(
        folder / "mean_picture.npy", np.repeat(mean.round().astype(np.uint8)[None], count, axis=0)
    )
    truth = _true(work, "latents")
    write_array(folder / "ceiling_vae.npy", to_pictures(work.spaces.decode(truth)))
    notes = {"knn": _nearest(work)}
    if generator is not None:
        _draw_ceilings(work, generator, truth)
        notes["ridge"] = _draw_ridge(work, generator)
    elif work.config.low_enabled:
        latents = _ridge(work, "latents")
        write_array(folder / "ridge.npy", to_pictures(work.spaces.decode(latents)))
        notes["ridge"] = "latents by ridge, decoded by the autoencoder"
    notes["ridge_latents"] = _draw_ridge_latents(work, generator)
    write_json(folder / "baselines.json", notes)


def _true(work: Workspace, name: str) -> Tensor:
    """Return the embeddings of the stimuli that are drawn."""
    return torch.from_numpy(np.array(work.embeddings(name)[work.rows(work.drawn_ids)], np.float32))


def _ridge(work: Workspace, name: str) -> Tensor:
    """Return a file of the stage `ridge`, of the stimuli that are drawn."""
    return torch.from_numpy(np.load(work.folder / "ridge" / f"{name}.npy")[: len(work.drawn_ids)])


def _nearest(work: Workspace) -> str:
    """Write the training picture of the nearest brain of every stimulus that is drawn."""
    nearest = read_json(work.folder / "ridge" / "knn_nearest.json")["nearest"]
    pictures = work.subject.pictures_of(nearest[: len(work.drawn_ids)])
    write_array(work.folder / "reconstruct" / "knn.npy", np.asarray(pictures))
    return "the training picture whose mean betas correlate most (k = 1)"


def _draw_ceilings(work: Workspace, generator: Generator, truth: Tensor) -> None:
    tokens = _true(work, "tokens")
    _draw(work, generator, "ceiling_generator", tokens, None)
    if generator.uses_start:
        _draw(work, generator, "ceiling_both", tokens, truth)


def _draw_ridge(work: Workspace, generator: Generator) -> str:
    """Draw ridge tokens from ridge latents.

    A diffusion model wants inputs of the spread it knows, so they are restored as Brain-Diffuser
    does; a pixel picture is only blown up by that.
    """
    if not generator.uses_start:
        _draw(work, generator, "ridge", _ridge(work, "tokens"), None)
        return "tokens by ridge, drawn by the generator, which takes no start"
    tokens, latents = (_ridge(work, f"{name}_restored") for name in ("tokens", "latents"))
    _draw(work, generator, "ridge", tokens, latents)
    return "tokens and latents by ridge, both z-scored over the test set and restored, drawn"


def _draw_ridge_latents(work: Workspace, generator: Generator | None) -> str:
    """Draw ridge latents without any condition; say what was done or why nothing was.

    Takagi & Nishimoto (CVPR 2023) decode latents z and text embeddings c by ridge regression,
    noise z to a strength of 0.8 and denoise it under c. Here is the text-free half of that: z as
    predicted (not restored), noised to the run's own strength, so that it starts as MindEye's
    pictures do, and denoised by the unconditional half of the run's generator. Where the run's
    strength is 1, which ignores a start, it is theirs.
    """
    if generator is None:
        return "not drawn: the run has no generator (targets.generator=none)"
    if not isinstance(generator, LatentGenerator):
        return "not drawn: the run's generator takes no start"
    strength = work.config.reconstruct.strength
    strength = strength if strength < 1 else PUBLISHED_STRENGTH
    drawer = generator.unconditional(strength)
    # The tokens change nothing; the same for all, so that nobody need believe it.
    mean = torch.from_numpy(np.load(work.folder / "ridge" / "tokens_mean.npy"))
    latents = _ridge(work, "latents")
    _draw(work, drawer, "ridge_latents", mean.expand(len(latents), -1, -1), latents)
    return f"latents by ridge, noised to strength {strength:g}, denoised without a condition"


def _draw(
    work: Workspace, generator: Generator, name: str, tokens: Tensor, start: Tensor | None
) -> None:
    batches = draw_batches(
        generator,
        tokens,
        seeds=candidate_seeds(work.config.seed, len(tokens), 1, purpose=SYSTEMS[name].noise),
        start=start,
        batch_size=work.config.reconstruct.batch_size,
        name=name,
    )
    pictures = np.concatenate([to_pictures(batch) for batch in batches])
    write_array(work.folder / "reconstruct" / f"{name}.npy", pictures)
