"""The generator of pixel tokens: nothing to sample."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mindeye.generation.generators.base import Space, check_embeddings
from mindeye.targets.encoders import PixelEncoder


class PixelGenerator:
    """Unfolds pixel tokens into a picture.

    Parameters
    ----------
    encoder
        Encoder of the tokens.
    """

    uses_start = False

    def __init__(self, encoder: PixelEncoder) -> None:
        self.encoder = encoder
        self.space = Space(encoder.tokens, encoder.width, "any")

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, size, size); `seeds` and `start` change nothing."""
        del start
        check_embeddings(tokens, self.space, seeds=seeds)
        return self.encoder.decode(tokens)
