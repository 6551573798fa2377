"""Imported checkpoints of the paper's authors in the place of pipelines trained here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from mindeye.config import DecoderConfig, HighConfig, PriorConfig
from mindeye.errors import CheckpointError
from mindeye.models.decoder import Decoder, ResidualBackbone
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.published.imported import Published, PublishedHigh, load_imported


def adopt_high(folder: Path, sizes: Sizes, config: HighConfig) -> HighLevel:
    """Return an imported high-level checkpoint as a pipeline that the stages can use.

    Parameters
    ----------
    folder
        Written by `mindeye.published.imported.import_checkpoint`: a whole high-level pipeline, or a
        backbone alone (the 1 x 768 variant), which then has no prior. A prior that is there is
        left out if `config.prior.kind` is none.
    sizes
        What subject and encoder ask for.
    config
        Configuration of the run's pipeline; sizes of the networks are the checkpoint's own.

    Raises
    ------
    CheckpointError
        If it is no imported checkpoint or holds another kind of network, if its voxels or tokens
        are not those of the run, or if its prior has fewer timesteps than the sampler has steps.
    """
    loaded = _load(folder)
    if isinstance(loaded, LowLevel):
        raise CheckpointError(f"{folder} holds a low-level pipeline; name it as low.weights")
    decoder = loaded if isinstance(loaded, Decoder) else loaded.decoder
    _check_voxels(folder, decoder.backbone, sizes)
    theirs, ours = (decoder.tokens, decoder.token_dim), (sizes.tokens, sizes.width)
    if theirs != ours:
        raise CheckpointError(
            f"{folder} predicts {theirs[0]} x {theirs[1]} tokens, the run's encoder gives "
            f"{ours[0]} x {ours[1]}; choose targets.encoder and targets.tokens to match"
        )
    prior = loaded if isinstance(loaded, PublishedHigh) and config.prior.kind != "none" else None
    if prior is not None and config.prior.sample_steps > prior.schedule.timesteps:
        raise CheckpointError(
            f"{folder} has {prior.schedule.timesteps} timesteps, high.prior.sample_steps is "
            f"{config.prior.sample_steps}; take at most as many steps"
        )
    with torch.device("meta"):  # a frame that the imported networks are put into
        frame = HighConfig(
            decoder=DecoderConfig(width=1, blocks=0, projector=False),
            prior=PriorConfig(kind="none"),
        )
        model = HighLevel(frame, dataclasses.replace(sizes, voxels=1))
    # The authors scale embeddings by sqrt(D) and take nothing away.
    model.target_mean = torch.zeros(sizes.tokens, sizes.width)
    model.target_gain = torch.tensor(float(sizes.width)).sqrt()
    model.decoder = decoder
    if prior is not None:
        model.kind, model.prior, model.schedule = "diffusion", prior.prior, prior.schedule
    return model.eval()


def adopt_low(folder: Path, sizes: Sizes) -> LowLevel:
    """Return an imported low-level checkpoint.

    Raises
    ------
    CheckpointError
        If it is no imported checkpoint or holds another kind of network, or its voxels or latents
        are not those of the run.
    """
    loaded = _load(folder)
    if not isinstance(loaded, LowLevel):
        raise CheckpointError(f"{folder} holds no low-level pipeline; name it as high.weights")
    _check_voxels(folder, loaded.backbone, sizes)
    latents = _latents(loaded)
    if latents != sizes.latents:
        raise CheckpointError(
            f"{folder} predicts latents {latents}, the run's autoencoder gives "
            f"{sizes.latents}; choose targets.vae to match"
        )
    return loaded


def _load(folder: Path) -> Published:
    """Load an imported checkpoint; every refusal names the folder."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is no folder written by `mindeye import-checkpoint`; import the file first"
        )
    try:
        return load_imported(folder)
    except CheckpointError as error:
        message = str(error)
        raise CheckpointError(
            message if str(folder) in message else f"{folder}: {message}"
        ) from error
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder}/config.json is torn: {error}; import it again") from error


def _latents(model: LowLevel) -> tuple[int, int, int]:
    """Return (C, h, w) of what a low-level pipeline predicts, by a picture of no brain."""
    with torch.inference_mode():
        grid = torch.zeros(1, *model.seed_shape)
        channels, height, width = model.upsampler(grid).shape[1:]
    return channels, height, width


def _check_voxels(folder: Path, backbone: ResidualBackbone, sizes: Sizes) -> None:
    theirs = next(backbone.parameters()).shape[1]
    if theirs != sizes.voxels:
        raise CheckpointError(
            f"{folder} was trained on {theirs} voxels, this subject has {sizes.voxels}; a decoder "
            "belongs to the subject and the region it was trained on"
        )
