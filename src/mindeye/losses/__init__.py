"""Losses: pure functions of tensors, and the dict of those that a run can name."""

from collections.abc import Callable

from torch import Tensor

from mindeye.config.bounds import REGISTRIES
from mindeye.losses.contrastive import info_nce_loss, soft_clip_loss

LOSSES: dict[str, Callable[..., Tensor]] = {
    "softclip": soft_clip_loss,
    "infonce": info_nce_loss,
}
"""Contrastive losses that `high.contrastive.soft` can name.

Each takes predicted and target embeddings (N, D), rows at length 1, pair by pair, and
`temperature`; it returns a scalar. Add one of your own as ``mindeye.LOSSES["mine"] = function``
before the run is configured.
"""

REGISTRIES["LOSSES"] = LOSSES

__all__ = ["LOSSES"]
