"""The protocol of image encoders, and what all those that are networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.targets.encoders.preprocessing import Preprocessing

Normalisation = Literal["class", "rms", "none"]
"""What the tokens of a picture are divided by.

``class``: the norm of its token 0, the class token, which so has norm 1. ``rms``: the root mean
square of its tokens' norms, for models without a class token; all tokens together then have norm
sqrt(K). ``none``: nothing. One number a picture in every case, so that the proportions of its
tokens stay as the model gives them.
"""

TOLERANCE = 1e-3
"""By how much rounding may carry a value past 0 or 1; a grey level is 4e-3."""


class Encoder(Protocol):
    """Turns images into tokens.

    Attributes
    ----------
    id
        Name under which its metrics and embeddings are known.
    tokens, width
        K and D of its embeddings.
    size
        Side that pictures are resized to; at it they need no resizing.
    fingerprint
        Hash of weights and of the library versions that decide the numbers.
    has_class_token
        Whether token 0 stands for the whole picture; the others lie on a grid, row by row.
    normalisation
        See `Normalisation`.
    """

    id: str
    tokens: int
    width: int
    size: int
    fingerprint: str
    has_class_token: bool
    normalisation: Normalisation

    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) of images (N, 3, H, W) in [0, 1]."""
        ...


def check_images(images: Tensor) -> None:
    """Refuse what is not a batch of images (N, 3, H, W) in [0, 1].

    Raises
    ------
    DataError
        Naming the shape or the range that was found; 0..255 and [-1, 1] are the likely ones.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise DataError(
            f"images are float tensors (N, 3, H, W) in [0, 1]; these are {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if not images.numel():
        return
    low, high = (float(v) for v in images.aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # so put, NaN is refused too
        advice = "divide by 255" if high > 2 else "rescale them"
        raise DataError(
            f"images must lie in [0, 1], these lie in [{low:.4g}, {high:.4g}]; {advice}"
        )


@dataclass(frozen=True)
class Facts:
    """What is known of an encoder before it has seen a picture.

    Parameters
    ----------
    id
        Its name.
    tokens, width
        K and D.
    pooled_width
        D of its pooled embedding, 0 if it has none.
    preprocessing
        What becomes of pictures first.
    fingerprint
        Of weights and versions.
    """

    id: str
    tokens: int
    width: int
    pooled_width: int
    preprocessing: Preprocessing
    fingerprint: str


class NetworkEncoder(ABC):
    """An encoder that is a network.

    Parameters
    ----------
    model
        The network, float32.
    facts
        What is known of it.
    device
        Where it runs.
    """

    has_class_token = True
    normalisation: Normalisation = "class"

    def __init__(self, model: Any, facts: Facts, *, device: torch.device) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.id, self.fingerprint = facts.id, facts.fingerprint
        self.tokens, self.width = facts.tokens, facts.width
        self.pooled_width = facts.pooled_width
        self.preprocessing = facts.preprocessing
        self.size = facts.preprocessing.edge or facts.preprocessing.size
        self.mean = torch.tensor(facts.preprocessing.mean, device=device).view(1, 3, 1, 1)
        self.deviation = torch.tensor(facts.preprocessing.deviation, device=device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) on the CPU, divided as `normalisation` says.

        Raises
        ------
        DataError
            If the images do not lie in [0, 1].
        """
        raw = self._tokens(self._pixels(images))
        return (raw / self._unit(raw)).cpu()

    @torch.inference_mode()
    def norms(self, images: Tensor) -> Tensor:
        """Return (N,) what the tokens of images are divided by.

        Some generators were trained on embeddings at their own norm: its mean over pictures leads
        back to it.
        """
        return self._unit(self._tokens(self._pixels(images))).flatten().cpu()

    def pool(self, images: Tensor) -> Tensor:
        """Return pooled embeddings (N, 1, D) of norm 1."""
        # A copy: a slice would keep all other tokens in memory for as long as it lives.
        return self.encode(images)[:, :1].clone()

    @abstractmethod
    def _tokens(self, pixels: Tensor) -> Tensor:
        """Return tokens (N, K, D), not yet divided, of normalised pixels (N, 3, size, size)."""

    def _pixels(self, images: Tensor) -> Tensor:
        check_images(images)
        return (self.preprocessing.fit(images.to(self.device)) - self.mean) / self.deviation

    def _unit(self, raw: Tensor) -> Tensor:
        """Return (N, 1, 1), what tokens (N, K, D) are divided by."""
        if self.normalisation == "class":
            length: Tensor = raw[:, :1].norm(dim=-1, keepdim=True)
            return length
        squares: Tensor = raw.square().sum(dim=-1, keepdim=True).mean(dim=1, keepdim=True)
        # a map of a blank picture may be zero everywhere after a rectifier
        return squares.sqrt().clamp_min(torch.finfo(raw.dtype).tiny)


def unit(pooled: Tensor) -> Tensor:
    """Return vectors (N, D) as (N, 1, D) of norm 1."""
    return torch.nn.functional.normalize(pooled, dim=-1).unsqueeze(1)
