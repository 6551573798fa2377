"""The brain decoder: betas to tokens by a residual MLP, and tokens to contrastive tokens.

Source: the MindEye paper (arXiv 2305.18274), section 3.2 and appendix A.4, and the published code.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mindeye.config.high import DecoderConfig, InputLayer
from mindeye.models.heads import HEADS
from mindeye.models.sizes import Sizes

NormName = Literal["layer", "batch"]
ActivationName = Literal["gelu", "relu", "silu"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
PAIRED_ACTIVATION: dict[str, ActivationName] = {"layer": "gelu", "batch": "relu"}
"""Which activation the published code puts beside which norm."""

PROJECTOR_DEPTH = 3
"""Linear layers of the projector (published code)."""


class DecoderOutput(NamedTuple):
    """What the decoder predicts.

    Attributes
    ----------
    backbone
        (N, K, D) tokens; the condition of the diffusion prior.
    contrastive
        (N, K, D) projected tokens, compared with image embeddings for retrieval; None if the
        decoder has no projector.
    """

    backbone: Tensor
    contrastive: Tensor | None


@dataclass(frozen=True)
class DenseStyle:
    """How the layers of a residual MLP are made; by default as the published high-level model's.

    Parameters
    ----------
    norm
        "layer" (published) or "batch".
    activation
        None takes the one that the published code pairs with the norm: GELU with LayerNorm, ReLU
        with BatchNorm. The low-level model uses SiLU.
    activation_first
        Whether the activation comes before the norm.
    bias
        Whether the linear layers have biases; the published low-level model's have none.
    """

    norm: NormName = "layer"
    activation: ActivationName | None = None
    activation_first: bool = False
    bias: bool = True

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm is {self.norm!r}; known: {', '.join(NORMS)}")


class ResidualConfig(Protocol):
    """Configuration of a residual MLP: `DecoderConfig` or `LowConfig`."""

    @property
    def width(self) -> int:
        """Hidden width."""
        ...

    @property
    def blocks(self) -> int:
        """Number of residual blocks."""
        ...

    @property
    def input_layer(self) -> InputLayer:
        """Kind of the layer over voxels."""
        ...

    @property
    def dropout_in(self) -> float:
        """Dropout after the published input layer."""
        ...

    @property
    def dropout_block(self) -> float:
        """Dropout in every residual block."""
        ...


class DenseLayer(nn.Module):
    """Linear, norm, activation, dropout; (N, in) to (N, width)."""

    def __init__(self, inputs: int, width: int, style: DenseStyle, *, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width, bias=style.bias)
        self.norm = NORMS[style.norm](width)
        self.activation = ACTIVATIONS[style.activation or PAIRED_ACTIVATION[style.norm]]()
        self.dropout = nn.Dropout(dropout)
        self.activation_first = style.activation_first

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, in) to (N, width)."""
        hidden: Tensor = self.linear(inputs)
        if self.activation_first:
            hidden = self.norm(self.activation(hidden))
        else:
            hidden = self.activation(self.norm(hidden))
        dropped: Tensor = self.dropout(hidden)
        return dropped


class ResidualBackbone(nn.Module):
    """Residual MLP, betas (N, V) to hidden (N, width).

    Parameters
    ----------
    config
        Width, blocks, input layer and dropout. The input layer ``published`` is linear, norm,
        activation, dropout; ``linear`` is a plain linear map, which MindEye2 (arXiv 2403.11207,
        table 4) found better when it is trained with weight decay.
    voxels
        Number of voxels V.
    style
        How its layers are made.
    """

    def __init__(
        self, config: ResidualConfig, voxels: int, style: DenseStyle | None = None
    ) -> None:
        super().__init__()
        style, width = style or DenseStyle(), config.width
        self.input: nn.Module
        if config.input_layer == "published":
            self.input = DenseLayer(voxels, width, style, dropout=config.dropout_in)
        else:
            self.input = nn.Linear(voxels, width, bias=style.bias)
        self.blocks = nn.ModuleList(
            [
                DenseLayer(width, width, style, dropout=config.dropout_block)
                for _ in range(config.blocks)
            ]
        )

    def forward(self, betas: Tensor) -> Tensor:
        """(N, V) to (N, width)."""
        hidden: Tensor = self.input(betas)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden


class TokenProjector(nn.Module):
    """Three times norm, GELU, linear, applied to every token; (N, K, D) to (N, K, D)."""

    def __init__(self, token_dim: int, *, width: int) -> None:
        super().__init__()
        sizes = [token_dim, *[width] * (PROJECTOR_DEPTH - 1), token_dim]
        self.norms = nn.ModuleList([nn.LayerNorm(size) for size in sizes[:-1]])
        self.linears = nn.ModuleList([nn.Linear(size, after) for size, after in pairwise(sizes)])

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, K, D) to (N, K, D)."""
        hidden = tokens
        for norm, linear in zip(self.norms, self.linears, strict=True):
            hidden = linear(nn.functional.gelu(norm(hidden)))
        return hidden


def _full_precision_on_cpu(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off where it costs time: every weight meets but a few rows here.

    On a CPU casting the weights, and their gradients back, takes longer than the products do; the
    projector and the prior, whose weights meet every token, gain from it everywhere.
    """
    return torch.autocast("cpu", enabled=False) if device.type == "cpu" else nullcontext()


class Decoder(nn.Module):
    """Betas (N, V) to backbone tokens (N, K, D) and contrastive tokens (N, K, D).

    Parameters
    ----------
    config
        Backbone, head and projector.
    sizes
        V, K and D.
    style
        How the backbone's layers are made.

    Attributes
    ----------
    recompute
        Keep only the projector's input in training and compute its inside again in the backward
        pass: less memory for more time, the same numbers. The backbone's blocks are N x width
        values each, too few to be worth it.

    Examples
    --------
    >>> decoder = Decoder(DecoderConfig(width=16), Sizes(9, tokens=4, width=8, latents=(4, 8, 8)))
    >>> decoder(torch.zeros(2, 9)).backbone.shape
    torch.Size([2, 4, 8])
    """

    input_layer = "backbone.input"
    """Name of the layer over voxels, which has a weight decay of its own."""

    def __init__(
        self, config: DecoderConfig, sizes: Sizes, style: DenseStyle | None = None
    ) -> None:
        super().__init__()
        self.tokens = sizes.tokens
        self.token_dim = sizes.width
        self.recompute = False
        self.backbone = ResidualBackbone(config, sizes.voxels, style)
        self.output = HEADS[config.head](config, sizes)
        self.projector = (
            TokenProjector(sizes.width, width=config.projector_width) if config.projector else None
        )

    def forward(self, betas: Tensor) -> DecoderOutput:
        """Decode betas (N, V).

        Returns
        -------
        DecoderOutput
            Backbone tokens (N, K, D) and contrastive tokens (N, K, D) or None.
        """
        with _full_precision_on_cpu(betas.device):
            flat: Tensor = self.output(self.backbone(betas))  # (N, K * D)
        tokens = torch.unflatten(flat, 1, (self.tokens, self.token_dim))  # (N, K, D)
        return DecoderOutput(tokens, self._project(tokens))

    def _project(self, tokens: Tensor) -> Tensor | None:
        """Contrastive tokens (N, K, D) of backbone tokens (N, K, D)."""
        if self.projector is None:
            return None
        if self.recompute and self.training and torch.is_grad_enabled():
            # the projector draws no random numbers
            projected: Tensor = checkpoint(
                self.projector, tokens, use_reentrant=False, preserve_rng_state=False
            )
        else:
            projected = self.projector(tokens)
        return projected
