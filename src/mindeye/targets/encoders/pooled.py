"""One vector a picture, of any encoder that has one."""

from __future__ import annotations

from torch import Tensor

from mindeye.targets.encoders.base import NetworkEncoder, Normalisation


class PooledEncoder:
    """The pooled embedding alone, the paper's 1 x 768 variant for large galleries.

    It is the class token where there is one, else what the model pools its tokens to. The
    published code leaves this variant's targets at their own norm; here they have norm 1, like the
    class token among all tokens, so that a gallery of either serves both.

    Parameters
    ----------
    encoder
        The encoder of all tokens.
    """

    tokens = 1
    has_class_token = True
    normalisation: Normalisation = "class"

    def __init__(self, encoder: NetworkEncoder) -> None:
        self.encoder = encoder
        self.size, self.width = encoder.size, encoder.pooled_width
        self.id = f"{encoder.id}_pooled"
        self.fingerprint = f"{encoder.fingerprint}/pooled"

    def encode(self, images: Tensor) -> Tensor:
        """Return pooled embeddings (N, 1, D) of norm 1."""
        return self.encoder.pool(images)
