"""The base class of image encoders, and what all those that are networks have in common."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mindeye.errors import ConfigError, DataError
from mindeye.files import sha256, versions
from mindeye.targets.encoders.preprocessing import Preprocessing

Normalisation = Literal["class", "rms", "none"]
"""What the tokens of a picture are divided by.

``class``: the norm of its token 0, the class token, which so has norm 1. ``rms``: the root mean
square of its tokens' norms, for models without a class token; all tokens together then have norm
sqrt(K). ``none``: nothing. One number a picture in every case, so that the proportions of its
tokens stay as the model gives them.
"""

HASHED = (".safetensors", ".json")
"""Files of a model folder whose content its fingerprint depends on."""
TOLERANCE = 1e-3
"""By how much rounding may carry a value past 0 or 1; a grey level is 4e-3."""


class Encoder(ABC):
    """Turns images into tokens; base class of all encoders, and of one of your own.

    An own encoder sets `tokens`, `width`, `size` and `fingerprint` and writes `encode`; everything
    else has a default. It need not even inherit: `load_encoder` takes any object with these five.

    Attributes
    ----------
    tokens, width
        Number K and width D of its tokens.
    size
        Side in pixels at which it takes images without resizing them.
    fingerprint
        Hash of the weights, or any text that changes when its numbers do; stored embeddings of
        another fingerprint are refused.
    id
        Name under which its metrics and embeddings are known; the class's name by default.
    has_class_token
        Whether token 0 stands for the whole image; the others lie on a grid, row by row.
    normalisation
        What tokens are divided by, see `Normalisation`.
    preprocessing
        How pictures are resized and cut for it, None where `size` says all.

    Examples
    --------
    >>> import torch
    >>> from mindeye.targets.encoders import ENCODERS, Encoder, load_encoder
    >>> class Colours(Encoder):
    ...     tokens, width, size, fingerprint = 4, 3, 32, "colours-1"
    ...     def encode(self, images):
    ...         return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).mT
    >>> ENCODERS["colours"] = Colours
    >>> encoder = load_encoder("colours", device=torch.device("cpu"))
    >>> encoder.encode(torch.zeros(5, 3, 64, 64)).shape
    torch.Size([5, 4, 3])
    >>> del ENCODERS["colours"]
    """

    id: str
    tokens: int
    width: int
    size: int
    fingerprint: str
    has_class_token: bool = False
    normalisation: Normalisation = "none"
    preprocessing: Preprocessing | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Name an encoder after its class, until it names itself."""
        super().__init_subclass__(**options)
        cls.id = cls.__dict__.get("id", cls.__name__)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) of images (N, 3, H, W) in [0, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """Return what stands for whole images (N, ...) when reconstructions are compared.

        It is the class token, or without one the mean of all tokens: token 0 would be the upper
        left corner of the image.
        """
        tokens = self.encode(images)
        return tokens[:, 0] if self.has_class_token else tokens.mean(dim=1)

    def class_norms(self, images: Tensor) -> Tensor | None:
        """Return the norms (N,) that class tokens had before division, None where unknown.

        Some generators were trained on embeddings at that norm; its mean over pictures leads back.
        """
        del images
        return None

    def pooled(self) -> Encoder:
        """Return the encoder of the pooled embedding alone, one token an image.

        Raises
        ------
        ConfigError
            If there is no such embedding.
        """
        raise ConfigError(
            f"the encoder {self.id} has no class token and no pooled embedding; set "
            "targets.tokens=all"
        )


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
        Name of the encoder.
    tokens, width
        K and D.
    pooled_width
        D of its pooled embedding, 0 if it has none.
    preprocessing
        What becomes of pictures first.
    fingerprint
        Hash of weights and versions.
    """

    id: str
    tokens: int
    width: int
    pooled_width: int
    preprocessing: Preprocessing
    fingerprint: str


class NetworkEncoder(Encoder):
    """An encoder that is a network.

    Parameters
    ----------
    model
        The network, float32.
    facts
        What is known of it.
    device
        Device that the network runs on.
    """

    has_class_token = True
    normalisation: Normalisation = "class"

    def __init__(self, model: Any, facts: Facts, *, device: torch.device) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.id, self.fingerprint = facts.id, facts.fingerprint
        self.tokens, self.width = facts.tokens, facts.width
        self.pooled_width = facts.pooled_width
        self.preprocessing: Preprocessing = facts.preprocessing
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
    def class_norms(self, images: Tensor) -> Tensor | None:
        """Return the norms (N,) that class tokens had, None if they are divided otherwise."""
        if self.normalisation != "class":
            return None
        return self._unit(self._tokens(self._pixels(images))).flatten().cpu()

    def pooled(self) -> Encoder:
        """Return the encoder of the pooled embedding alone; see `PooledEncoder`."""
        return PooledEncoder(self) if self.pooled_width else super().pooled()

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


class PooledEncoder(Encoder):
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
        self.preprocessing = encoder.preprocessing
        self.id = f"{encoder.id}_pooled"
        self.fingerprint = f"{encoder.fingerprint}/pooled"

    def encode(self, images: Tensor) -> Tensor:
        """Return pooled embeddings (N, 1, D) of norm 1."""
        return self.encoder.pool(images)

    def class_norms(self, images: Tensor) -> Tensor | None:
        """Return the norms (N,) of the class tokens of the encoder of all tokens."""
        return self.encoder.class_norms(images)


def unit(pooled: Tensor) -> Tensor:
    """Return vectors (N, D) as (N, 1, D) of norm 1."""
    return torch.nn.functional.normalize(pooled, dim=-1).unsqueeze(1)


def folder_fingerprint(folder: Path, *libraries: str) -> str:
    """Return a hash of a model folder's weights and of the libraries that run them.

    Parameters
    ----------
    folder
        The folder; of a file, the file alone counts.
    *libraries
        Distributions that decide the numbers beside those of `mindeye.files.versions`.
    """
    known = versions()
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            known[name] = metadata.version(name)
    digest = hashlib.sha256(repr(sorted(known.items())).encode())
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in paths:
        if path.suffix in HASHED:
            digest.update(f"{path.relative_to(folder)}:{sha256(path)}".encode())
    return digest.hexdigest()[:16]
