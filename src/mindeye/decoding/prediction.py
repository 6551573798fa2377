"""What a decoder predicts: embeddings of stimuli, by id.

Axes: S stimuli, K tokens, D width, V voxels, n candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mindeye.decoding.spaces import TargetSpaces

Floats = NDArray[np.float32]


class Sampler(Protocol):
    """A fitted decoder, as the drawing of images sees it."""

    spaces_: TargetSpaces

    def sample(self, prediction: Prediction, seeds: list[int]) -> Tensor:
        """Return embeddings (S * n, K, D) to be drawn, stimulus-major, one a seed."""
        ...

    def reference_images(self) -> Tensor | None:
        """Return a few training images (N, 3, H, W) in [0, 1], None where there are none."""
        ...


@dataclass(frozen=True)
class Prediction:
    """Embeddings that a decoder predicts for S stimuli.

    Parameters
    ----------
    tokens
        Predicted embeddings, (S, K, D); those of a `BrainDecoder` are its backbone's, the condition
        of the diffusion prior.
    retrieval
        Embeddings that retrieval compares with those of images, (S, K, D).
    ids
        Stimulus ids, one a row.
    betas
        Betas that the prediction was made from, (S, V); None where they are not at hand.
    decoder
        The fitted decoder, which samples embeddings to be drawn; None for arrays from elsewhere.
    nearest
        Ids of the training stimuli whose betas are most alike, one a row; neighbour decoders alone
        give them.

    Examples
    --------
    >>> import numpy as np
    >>> from mindeye.decoding.prediction import Prediction
    >>> tokens = np.zeros((2, 1, 4), np.float32)
    >>> prediction = Prediction(tokens, tokens, ["cat", "dog"])
    >>> len(prediction), prediction[:1].ids
    (2, ['cat'])
    """

    tokens: Floats
    retrieval: Floats
    ids: list[str]
    betas: Floats | None = None
    decoder: Sampler | None = None
    nearest: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of stimuli."""
        return len(self.ids)

    def __getitem__(self, part: slice) -> Prediction:
        """Return the prediction of some of the stimuli."""
        return replace(
            self,
            tokens=self.tokens[part],
            retrieval=self.retrieval[part],
            ids=self.ids[part],
            betas=None if self.betas is None else self.betas[part],
            nearest=None if self.nearest is None else self.nearest[part],
        )
