"""What a generator is: the embeddings it takes, and the checks that every one makes of its inputs.

A generator is never given embeddings it was not trained on without a word: rank, width, number of
tokens, finiteness and, because CLIP embeddings are used both at norm 1 and at their own norm, the
norm are looked at before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from mindeye.errors import DataError

UNIT_AT_MOST = 4.0
OWN_AT_LEAST = 2.0
"""Norms that tell the two conventions apart: predictions in a space of norm 1 stay below the first,
CLIP embeddings at their own norm (tens) above the second."""


@dataclass(frozen=True)
class Space:
    """The embeddings that a generator takes.

    Parameters
    ----------
    tokens
        K, None for any number.
    width
        Width D of a token.
    norm
        ``unit``: the first token has norm 1, as divided by `targets.encoders`; ``own``: the norm
        that the encoder's projection gives; ``any``.
    """

    tokens: int | None
    width: int
    norm: Literal["unit", "own", "any"]

    def __str__(self) -> str:
        """Return ``K x D``."""
        return f"{'any number' if self.tokens is None else self.tokens} x {self.width}"

    def takes(self, tokens: int, width: int) -> bool:
        """Tell whether embeddings of (K, D) fit."""
        return width == self.width and self.tokens in (None, tokens)


class Generator(Protocol):
    """Draws images from embeddings.

    Attributes
    ----------
    space
        The embeddings it takes.
    uses_start
        Whether it can start from latents (img2img); False by default.

    Examples
    --------
    A generator is registered by one entry and drawn with by its name:

    >>> import torch
    >>> from mindeye.generation.generators import GENERATORS, Generator, Space
    >>> class Grey(Generator):
    ...     space = Space(None, 64, "any")
    ...     def generate(self, tokens, *, seeds, start=None):
    ...         return tokens.mean(dim=(1, 2)).sigmoid().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    >>> GENERATORS["grey"] = Grey
    >>> Grey().generate(torch.zeros(2, 65, 64), seeds=[0, 1]).shape
    torch.Size([2, 3, 32, 32])
    >>> del GENERATORS["grey"]
    """

    space: Space
    uses_start: bool = False

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1].

        Parameters
        ----------
        tokens
            (N, K, D) embeddings to draw.
        seeds
            One a picture, so that it does not change with the batch it is drawn in.
        start
            (N, C, h, w) latents of the run's autoencoder to start from, None for pure noise.
        """
        ...


def check_embeddings(tokens: Tensor, space: Space, *, seeds: Sequence[int]) -> None:
    """Refuse embeddings that the generator would turn into wrong pictures.

    Parameters
    ----------
    tokens
        (N, K, D).
    space
        What the generator takes.
    seeds
        N of them.

    Raises
    ------
    DataError
        Naming shape, row or norm and what is taken.
    """
    if tokens.ndim != 3 or len(tokens) == 0:
        raise DataError(
            f"embeddings have shape {tuple(tokens.shape)}; the generator takes (N, K, D), at least "
            f"one, of {space}; a pooled embedding has K = 1"
        )
    if not space.takes(*tokens.shape[1:]):
        raise DataError(
            f"embeddings are {tokens.shape[1]} x {tokens.shape[2]}; the generator takes {space}"
        )
    if len(seeds) != len(tokens):
        raise DataError(f"{len(tokens)} embeddings and {len(seeds)} seeds; give one seed a picture")
    finite = torch.isfinite(tokens).flatten(1).all(dim=1)
    if not bool(finite.all()):
        row = int(finite.logical_not().nonzero()[0])
        raise DataError(f"embedding {row} is not finite; look at the training that predicted it")
    _check_norm(float(tokens[:, 0].float().norm(dim=-1).median()), space)


def _check_norm(norm: float, space: Space) -> None:
    if space.norm == "unit" and norm > UNIT_AT_MOST:
        raise DataError(
            f"the first tokens have a norm of {norm:.3g}, the generator takes embeddings divided "
            "by it (norm 1); divide every embedding by the norm of its first token"
        )
    if space.norm == "own" and norm < OWN_AT_LEAST:
        raise DataError(
            f"embeddings have a norm of {norm:.3g}, the generator takes CLIP embeddings at their "
            "own norm (tens); set reconstruct.norm to the usual norm of the encoder's embeddings"
        )


def check_start(start: Tensor, count: int, shape: tuple[int, int, int]) -> None:
    """Refuse start latents that are not (N, C, h, w) of the run's autoencoder.

    Raises
    ------
    DataError
        Naming the shape or the row.
    """
    if tuple(start.shape) != (count, *shape):
        raise DataError(
            f"start latents have shape {tuple(start.shape)}; the run's autoencoder makes "
            f"{(count, *shape)} (pictures are not latents: encode them first)"
        )
    finite = torch.isfinite(start).flatten(1).all(dim=1)
    if not bool(finite.all()):
        row = int(finite.logical_not().nonzero()[0])
        raise DataError(f"start latents {row} are not finite; look at the low-level training")
