"""What is drawn beside MindEye's pictures: baselines, floors and ceilings."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mindeye.generation.generators import Generator
from mindeye.generation.reconstruct import candidate_seeds, draw_batches
from mindeye.runs import write_array
from mindeye.stages.workspace import Workspace
from mindeye.targets.images import to_pictures


def draw_baselines(work: Workspace, generator: Generator | None) -> None:
    """Write the mean training picture, the ceilings and the baselines' pictures."""
    folder, count = work.folder / "reconstruct", len(work.drawn_ids)
    mean = work.subject.pictures_of(work.subject.splits["train"]).mean(axis=0)
    write_array(
        folder / "mean_picture.npy", np.repeat(mean.round().astype(np.uint8)[None], count, axis=0)
    )
    truth = torch.from_numpy(
        np.array(work.embeddings("latents")[work.rows(work.drawn_ids)], np.float32)
    )
    write_array(folder / "ceiling_vae.npy", to_pictures(decode_latents(work, truth)))
    if generator is not None:
        _draw_generated(work, generator, truth)
    elif work.config.low_enabled:
        latents = torch.from_numpy(np.load(work.folder / "ridge" / "latents.npy")[:count])
        write_array(folder / "ridge.npy", to_pictures(decode_latents(work, latents)))


def decode_latents(work: Workspace, latents: Tensor, batch_size: int = 64) -> Tensor:
    """Return images (S, 3, H, W) of latents (S, C, H / 8, W / 8), a batch at a time."""
    return torch.cat([work.vae.decode(part) for part in torch.split(latents, batch_size)])


def _draw_generated(work: Workspace, generator: Generator, truth: Tensor) -> None:
    """Draw the ridge baseline (Brain-Diffuser's recipe) and what true embeddings would give."""
    config, folder = work.config.reconstruct, work.folder / "reconstruct"
    count = len(work.drawn_ids)
    true_tokens = torch.from_numpy(
        np.array(work.embeddings("tokens")[work.rows(work.drawn_ids)], np.float32)
    )
    # A diffusion model wants inputs of the spread it knows; a pixel picture is only blown up by it.
    suffix = "_restored" if generator.uses_start else ""
    ridge_tokens, ridge_latents = (
        torch.from_numpy(np.load(work.folder / "ridge" / f"{n}{suffix}.npy")[:count])
        for n in ("tokens", "latents")
    )
    jobs = {"ceiling_generator": (true_tokens, None), "ridge": (ridge_tokens, ridge_latents)}
    if generator.uses_start:
        jobs["ceiling_both"] = (true_tokens, truth)
    for purpose, (name, (tokens, start)) in enumerate(jobs.items(), start=2):
        batches = draw_batches(
            generator,
            tokens,
            seeds=candidate_seeds(work.config.seed, count, 1, purpose=purpose),
            start=start if generator.uses_start else None,
            batch_size=config.batch_size,
            name=name,
        )
        write_array(folder / f"{name}.npy", np.concatenate([to_pictures(b) for b in batches]))
