"""Networks of the published code by their sizes, as small as a test needs them."""

from __future__ import annotations

from typing import Any

from mindeye.models.decoder import Decoder
from mindeye.models.lowlevel import LowLevel
from mindeye.models.prior_network import PriorNetwork
from mindeye.published.networks import build_decoder, build_low, build_prior

DECODER = {
    "voxels": 5, "tokens": 3, "token_dim": 8, "width": 8, "blocks": 2, "norm": "layer",
    "activation_first": False, "projector": True, "projector_width": 6,
}  # fmt: skip
PRIOR = {
    "dim": 8, "depth": 2, "heads": 2, "dim_head": 4, "num_tokens": 3, "num_timesteps": None,
    "learned_query_mode": "pos_emb", "ff_mult": 4.0, "causal": False,
}  # fmt: skip
LOW = {
    "voxels": 5, "width": 8, "blocks": 1, "seed": [32, 2, 2], "block_out_channels": [32, 64],
    "layers_per_block": 1, "latent_channels": 4, "maps_width": 6,
}  # fmt: skip


def decoder(**sizes: Any) -> Decoder:
    return build_decoder({**DECODER, **sizes}).eval()


def prior(**sizes: Any) -> PriorNetwork:
    return build_prior({**PRIOR, **sizes}).eval()


def low_level(**sizes: Any) -> LowLevel:
    return build_low({**LOW, **sizes}).eval()
