"""The brain decoder: betas to tokens by a residual MLP, and tokens to contrastive tokens.

Source: the MindEye paper (arXiv 2305.18274), section 3.2 and appendix A.4, and the published code.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mindeye.config.high import Head
from mindeye.models.heads import build_head

NormName = Literal["layer", "batch"]
ActivationName = Literal["gelu", "relu", "silu"]
InputLayer = Literal["published", "linear"]

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


class DenseLayer(nn.Module):
    """Linear, norm, activation, dropout; (N, in) to (N, width).

    `activation_first` swaps norm and activation.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        norm: NormName = "layer",
        activation: ActivationName = "gelu",
        activation_first: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width, bias=bias)
        self.norm = NORMS[norm](width)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.activation_first = activation_first

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
    voxels
        V.
    width
        Hidden width; 4096 in the paper.
    blocks
        Residual blocks; 4 in the paper.
    norm
        "layer" (published) or "batch".
    activation
        None takes the one that the published code pairs with the norm: GELU with LayerNorm,
        ReLU with BatchNorm. The low-level model uses SiLU.
    activation_first
        Activation before norm.
    bias
        Biases in the linear layers; the published low-level model has none.
    input_layer
        "published" is Linear, norm, activation, dropout; "linear" is a plain linear map, which
        MindEye2 (arXiv 2403.11207, table 4) found better when it is trained with weight decay.
    dropout_in, dropout_block
        .5 and .15 in the published high-level model, .5 and .25 in the low-level one.
    """

    def __init__(
        self,
        voxels: int,
        *,
        width: int,
        blocks: int,
        norm: NormName = "layer",
        activation: ActivationName | None = None,
        activation_first: bool = False,
        bias: bool = True,
        input_layer: InputLayer = "published",
        dropout_in: float = 0.5,
        dropout_block: float = 0.15,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; known: {', '.join(NORMS)}")
        chosen = activation or PAIRED_ACTIVATION[norm]

        def dense(inputs: int, dropout: float) -> DenseLayer:
            return DenseLayer(
                inputs,
                width,
                norm=norm,
                activation=chosen,
                activation_first=activation_first,
                bias=bias,
                dropout=dropout,
            )

        self.input: nn.Module
        if input_layer == "published":
            self.input = dense(voxels, dropout_in)
        elif input_layer == "linear":
            self.input = nn.Linear(voxels, width, bias=bias)
        else:
            raise ValueError(f"input_layer is {input_layer!r}; known: published, linear")
        self.blocks = nn.ModuleList([dense(width, dropout_block) for _ in range(blocks)])

    def forward(self, betas: Tensor) -> Tensor:
        """(N, V) to (N, width)."""
        hidden: Tensor = self.input(betas)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden


class TokenProjector(nn.Module):
    """Three times norm, GELU, linear, applied to every token; (N, K, D) to (N, K, D).

    `width` is 2048 in the paper (published code).
    """

    def __init__(self, token_dim: int, *, width: int = 2048) -> None:
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
    voxels
        V; differs between subjects (15724 for subject 1 of NSD).
    tokens, token_dim
        K and D of the target embedding; 257 and 768 in the paper, 1 and 768 in its variant for
        large galleries.
    width, blocks
        Of the residual MLP; 4096 and 4 in the paper.
    norm, activation_first, input_layer, dropout_in, dropout_block
        See `ResidualBackbone`.
    head, head_width
        See `mindeye.models.heads`; "full" in the paper.
    projector
        Whether there is a projector; without it `DecoderOutput.contrastive` is None.
    projector_width
        Hidden width of the projector; 2048 in the published code.
    recompute
        Keep only the projector's input in training and compute its inside again in the backward
        pass: less memory for more time, the same numbers. The backbone's blocks are N x width
        values each, too few to be worth it.
    """

    def __init__(
        self,
        voxels: int,
        *,
        tokens: int = 257,
        token_dim: int = 768,
        width: int = 4096,
        blocks: int = 4,
        norm: NormName = "layer",
        activation_first: bool = False,
        input_layer: InputLayer = "published",
        dropout_in: float = 0.5,
        dropout_block: float = 0.15,
        head: Head = "full",
        head_width: int = 256,
        projector: bool = True,
        projector_width: int = 2048,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.token_dim = token_dim
        self.recompute = recompute
        self.backbone = ResidualBackbone(
            voxels,
            width=width,
            blocks=blocks,
            norm=norm,
            activation_first=activation_first,
            input_layer=input_layer,
            dropout_in=dropout_in,
            dropout_block=dropout_block,
        )
        self.output = build_head(
            head, width, tokens=tokens, token_dim=token_dim, head_width=head_width
        )
        self.projector = TokenProjector(token_dim, width=projector_width) if projector else None

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
