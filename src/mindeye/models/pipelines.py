"""The two trainable pipelines, built from a config and the sizes of the data."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mindeye.config import HighConfig, LowConfig
from mindeye.diffusion import NoiseSchedule, embedding_scale
from mindeye.errors import CheckpointError
from mindeye.files import atomic_path, read_json, versions, write_json
from mindeye.models import DECODERS
from mindeye.models.prior_network import PriorNetwork
from mindeye.models.sizes import Sizes


class HighOutput(NamedTuple):
    """What the high-level pipeline says of N brains.

    Attributes
    ----------
    backbone
        (N, K, D) tokens; the condition of the prior.
    contrastive
        (N, K, D) tokens that retrieval compares with embeddings.
    """

    backbone: Tensor
    contrastive: Tensor


class HighLevel(nn.Module):
    """Backbone, projector and the prior's denoiser (paper figure 2, upper half).

    The prior works on embeddings less `target_mean`, times `target_gain`; both are buffers, so a
    trained model knows its own units. So does a backbone that is regressed onto the embeddings
    (`PriorConfig.kind` mse).

    Parameters
    ----------
    config
        Configuration of the pipeline; what is switched off is not built.
    sizes
        Sizes of the data.
    """

    target_mean: Tensor
    target_gain: Tensor

    def __init__(self, config: HighConfig, sizes: Sizes) -> None:
        super().__init__()
        recompute = config.optim.recompute
        self.kind = config.prior.kind
        self.schedule = NoiseSchedule.named("cosine", config.prior.timesteps)
        self.register_buffer("target_mean", torch.zeros(sizes.tokens, sizes.width))
        self.register_buffer("target_gain", torch.tensor(embedding_scale(sizes.width)))
        projector = config.decoder.projector and config.contrastive.enabled
        decoder: Any = DECODERS[config.decoder.kind](
            replace(config.decoder, projector=projector), sizes
        )
        if hasattr(decoder, "recompute"):
            decoder.recompute = recompute
        self.decoder: nn.Module = decoder
        self.prior: PriorNetwork | None = None
        if self.kind == "diffusion":
            self.prior = PriorNetwork(config.prior, sizes, recompute=recompute)

    @property
    def input_layer(self) -> str:
        """Name of the layer over voxels; empty where a decoder of one's own does not tell it."""
        name = getattr(self.decoder, "input_layer", "")
        return f"decoder.{name}" if name else ""

    def set_units(self, mean: Tensor, variance: float) -> None:
        """Take the prior's units from training embeddings: their mean (K, D), their variance."""
        self.target_mean.copy_(mean)
        self.target_gain.fill_(variance**-0.5)

    def to_prior(self, tokens: Tensor) -> Tensor:
        """Return embeddings (N, K, D) in the units the prior diffuses."""
        return (tokens - self.target_mean) * self.target_gain

    def from_prior(self, tokens: Tensor) -> Tensor:
        """Return prior samples (N, K, D) in the encoder's units."""
        return tokens / self.target_gain + self.target_mean

    def forward(self, betas: Tensor) -> HighOutput:
        """Decode betas (N, V).

        Without a projector the contrastive tokens are the backbone's own, in the encoder's units
        where the backbone is regressed onto embeddings.
        """
        backbone, contrastive = self.decoder(betas)
        if contrastive is None:
            contrastive = self.from_prior(backbone) if self.kind == "mse" else backbone
        return HighOutput(backbone, contrastive)

    def point_estimate(self, backbone: Tensor, contrastive: Tensor) -> Tensor:
        """Return one embedding (N, K, D) a brain where there is no prior to sample from.

        The regressed one, or else the contrastive one at the norm that embeddings have (a
        contrastive loss leaves norms free).
        """
        if self.kind == "mse":
            return self.from_prior(backbone)
        square = self.target_mean.square().mean() + self.target_gain**-2
        norms = contrastive.square().mean(dim=(1, 2), keepdim=True).sqrt()
        return contrastive / norms * square.sqrt()


def save_model(model: nn.Module, folder: Path, description: dict[str, Any]) -> None:
    """Write a model as a folder that rebuilds itself: safetensors, sizes, config, versions."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    write_json(folder / "config.json", {**description, "versions": versions()})


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of `save_model` into a model, strictly.

    Raises
    ------
    CheckpointError
        If the file is missing or torn, or a name or shape does not fit.
    """
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; train this stage again") from error
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its config: {error}") from error


def describe_model(
    kind: str, sizes: Sizes, config: HighConfig | LowConfig, **more: Any
) -> dict[str, Any]:
    """Return what `save_model` writes beside the weights."""
    return {"kind": kind, "sizes": asdict(sizes), "config": asdict(config), **more}


def read_description(folder: Path) -> dict[str, Any]:
    """Return the `config.json` of a model folder.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no trained model; run the training stage first")
    content: dict[str, Any] = read_json(path)
    return content
