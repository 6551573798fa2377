"""Networks and linear baselines that map betas to targets, and the dict of decoders."""

from collections.abc import Callable

from torch import nn

from mindeye.config.bounds import REGISTRIES
from mindeye.config.high import DecoderConfig
from mindeye.models.decoder import Decoder
from mindeye.models.sizes import Sizes

DECODERS: dict[str, Callable[[DecoderConfig, Sizes], nn.Module]] = {"residual": Decoder}
"""Decoders that `high.decoder.kind` can name.

Each builds a module from `DecoderConfig` and `Sizes` that turns betas (N, V) into backbone tokens
(N, K, D), the condition of the prior, and contrastive tokens (N, K, D), which retrieval compares,
or None to compare the former. Its attribute `input_layer` names the layer over voxels, whose weight
decay is `input_weight_decay`. Add one of your own as ``mindeye.DECODERS["mine"] = Mine`` before the
run is configured.
"""

REGISTRIES["DECODERS"] = DECODERS

__all__ = ["DECODERS", "Sizes"]
