"""Checkpoints of the paper's authors as folders of ours: recognise, check, write, rebuild.

Three kinds of network can be in a file: the high-level pipeline (`voxel2clip.*`, `net.*`,
`noise_scheduler.*`), a backbone (the 1 x 768 variant), the low-level model. All sizes come from
shapes; what shapes cannot tell (dropout, causal attention, the query mode "token") is taken as
published. From reading to writing the weights stay mapped from the file.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mindeye.diffusion import SCHEDULES, NoiseSchedule
from mindeye.errors import CheckpointError, ConfigError
from mindeye.files import sha256
from mindeye.models.decoder import Decoder, DecoderOutput
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import read_description, save_model
from mindeye.models.prior_network import PriorNetwork
from mindeye.published.checkpoint_file import read_published_state, refuse_non_finite
from mindeye.published.names import State, split_published
from mindeye.published.networks import (
    Shapes,
    build_decoder,
    build_low,
    build_prior,
    check_schedule,
    fit_decoder,
    fit_low,
    fit_prior,
)

HIGH, BACKBONE, LOW = "published-high", "published-backbone", "published-low"

_TEXT_PRIOR = re.compile(
    r"learned_query|null_(text_encodings|text_embeds|image_embed)"
    r"|to_(text|image)_embeds\.0\.(weight|bias)"
    r"|to_time_embeds\.0\.(weight|1\.net\.(0\.0|1\.0|2)\.(weight|bias))"
    r"|causal_transformer\.(init_norm\.g|norm\.g|project_out\.weight"
    r"|rel_pos_bias\.relative_attention_bias\.weight"
    r"|layers\.\d+\.(0\.(null_kv|norm\.g|to_q\.weight|to_kv\.weight|rotary_emb\.freqs"
    r"|to_out\.0\.weight|to_out\.1\.g)|1\.([03]\.g|[15]\.weight)))"
)
"""Names in the text-conditioned prior of the 1 x 768 variant (DALL-E 2, `DiffusionPrior`)."""


class PublishedHigh(nn.Module):
    """The published high-level pipeline; betas (N, V) to a `DecoderOutput`.

    Parameters
    ----------
    decoder
        Backbone and projector.
    prior
        Denoiser of embeddings times `mindeye.diffusion.embedding_scale(D)`; predicts `x_0`.
    schedule
        The noise it was trained with.
    """

    def __init__(self, decoder: Decoder, prior: PriorNetwork, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.decoder = decoder
        self.prior = prior
        self.schedule = schedule

    def forward(self, betas: Tensor) -> DecoderOutput:
        """Decode betas (N, V)."""
        output: DecoderOutput = self.decoder(betas)
        return output


Published = PublishedHigh | Decoder | LowLevel


def import_checkpoint(source: Path, folder: Path) -> dict[str, Any]:
    """Turn a checkpoint file of the authors into a folder that `load_imported` rebuilds.

    Parameters
    ----------
    source
        A dict with `model_state_dict`, or a bare state dict, written by `torch.save`.
    folder
        Folder that is written; appears complete or not at all.

    Returns
    -------
    dict
        What `config.json` says: kind, sizes, source, and `left_out` if something was.

    Raises
    ------
    CheckpointError
        If the file is torn, names code or is of another kind, if a name, a shape or a value is
        wrong, or if `folder` exists.
    """
    if folder.exists():
        raise CheckpointError(f"{folder} exists already; choose another folder for the import")
    state = read_published_state(source)
    try:
        model, description = _recognise(state)
    except CheckpointError as error:
        raise CheckpointError(
            f"{source}: {error}; nothing was written, docs/how-to/checkpoints.md tells what loads"
        ) from error
    refuse_non_finite(source, state)
    description["source"] = {"file": source.name, "sha256": sha256(source)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        save_model(model, Path(staging) / "complete", description)
        (Path(staging) / "complete").rename(folder)
    return description


def load_imported(folder: Path) -> Published:
    """Rebuild what `import_checkpoint` wrote, in eval mode; strict in names and shapes.

    Raises
    ------
    CheckpointError
        If the folder holds something else, is torn, or its weights and sizes do not fit.
    """
    sizes, path = read_description(folder), folder / "model.safetensors"
    try:
        model = _rebuild(sizes)
        model.load_state_dict(load_file(path), strict=True, assign=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; import it again") from error
    except (ConfigError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit its config: {reason}; import again") from error
    return model.eval()


def _rebuild(sizes: dict[str, Any]) -> Published:
    """Build a model without weights, on the meta device."""
    kind = sizes.get("kind")
    if kind not in (HIGH, BACKBONE, LOW):
        raise CheckpointError(f"config.json is of kind {kind!r}, which is no imported checkpoint")
    with torch.device("meta"):
        if kind == LOW:
            return build_low(sizes["lowlevel"])
        decoder = build_decoder(sizes["decoder"])
        if kind == BACKBONE:
            return decoder
        prior = build_prior(sizes["prior"])
    return PublishedHigh(decoder, prior, NoiseSchedule.named(**sizes["schedule"]))


def _recognise(state: State) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model that a state belongs to, weights in place, and describe it."""
    first = {key.partition(".")[0] for key in state}
    if first & {"voxel2clip", "net", "noise_scheduler"}:
        return _recognise_high(state)
    if "upsampler" in first:
        low, sizes = fit_low(state)
        return low, {"kind": LOW, "lowlevel": sizes}
    if first & {"lin0", "mlp", "lin1"}:
        decoder, sizes = fit_decoder(state)
        return decoder, {"kind": BACKBONE, "decoder": sizes}
    raise CheckpointError(
        f"no model of the authors has the key {next(iter(state))}; theirs begin with voxel2clip, "
        "net and noise_scheduler (high level), lin0, mlp and lin1 (backbone), or these and "
        "upsampler (low level)"
    )


def _recognise_high(state: State) -> tuple[nn.Module, dict[str, Any]]:
    parts = split_published(state)
    decoder, sizes = fit_decoder(parts.decoder, "voxel2clip.")
    schedule = _schedule_of(parts.schedule)
    if {"null_text_embeds", "null_text_encodings"} & set(parts.prior):
        unknown = [key for key in parts.prior if not _TEXT_PRIOR.fullmatch(key)]
        if unknown:
            raise CheckpointError(f"unexpected key net.{unknown[0]}")
        left_out = {"net": f"{len(parts.prior)} tensors of a text-conditioned prior"}
        return decoder, {"kind": BACKBONE, "decoder": sizes, "left_out": left_out}
    prior, prior_sizes = fit_prior(parts.prior)
    ours, theirs = (decoder.tokens, decoder.token_dim), (prior.num_tokens, prior.dim)
    if ours != theirs:
        raise CheckpointError(f"voxel2clip gives tokens {ours}, net.null_brain_embeds is {theirs}")
    model = PublishedHigh(decoder, prior, NoiseSchedule.named(**schedule))
    return model, {"kind": HIGH, "decoder": sizes, "prior": prior_sizes, "schedule": schedule}


def _schedule_of(buffers: State) -> dict[str, Any]:
    """Find the schedule that gives these buffers; else complain as the published one would."""
    (timesteps,) = Shapes(buffers, "noise_scheduler.").of("betas", 1)
    complaints = []
    for name in SCHEDULES:  # the published one stands first
        try:
            check_schedule(buffers, NoiseSchedule.named(name, timesteps))
        except CheckpointError as error:
            complaints.append(error)
        else:
            return {"name": name, "timesteps": timesteps}
    raise complaints[0]
