"""Autoencoders: the latents that the low-level pipeline predicts and generators start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mindeye.config.bounds import REGISTRIES
from mindeye.data.images import resize
from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.encoders.base import check_images, folder_fingerprint
from mindeye.targets.entries import make_entry
from mindeye.weights.pretrained import open_pretrained, read_settings
from mindeye.zoo import zoo_folder

SIZE = 512
"""Side of pictures where neither the configuration nor the folder names one: Stable Diffusion's."""

KNOWN = (
    "zoo, pixels:SIZE, taesd:FOLDER, a local AutoencoderKL or AutoencoderTiny folder or the id of "
    "a fetched model"
)


class Autoencoder(Protocol):
    """Turns images into scaled latents and back.

    Attributes
    ----------
    id
        Name of the space; a generator takes latents of its own space only.
    shape
        (C, h, w) of its latents.
    fingerprint
        Hash of weights and library versions.
    """

    id: str
    shape: tuple[int, int, int]
    fingerprint: str

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (N, C, h, w) of images (N, 3, H, W) in [0, 1]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1] of latents (N, C, h, w)."""
        ...


class KLAutoencoder:
    """A `diffusers` AutoencoderKL; latents are the mode times its scaling factor.

    Parameters
    ----------
    folder
        Local folder that `AutoencoderKL.from_pretrained` reads; safetensors only.
    name
        Name of the autoencoder, its `id`.
    device
        Device that the autoencoder runs on.
    size
        Side that pictures are resized to; 0 takes the folder's `sample_size`, or `SIZE` where it
        names none.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device, size: int = 0) -> None:
        from diffusers import AutoencoderKL

        vae = open_pretrained(AutoencoderKL, folder)
        self.vae = vae.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.id = name
        self.device = device
        # What the folder itself says: the library's default of 32 is no model's.
        self.size = size or int(read_settings(folder / "config.json").get("sample_size") or SIZE)
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.shape = latent_shape(int(vae.config.latent_channels), self.size, factor)
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.fingerprint = _sized(folder_fingerprint(folder), size)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return scaled latents, of unit standard deviation over natural inputs."""
        check_images(images)
        pixels = resize(images.to(self.device), self.size) * 2 - 1
        mode: Tensor = self.vae.encode(pixels).latent_dist.mode()
        return ((mode - self.shift) * self.scale).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images in [0, 1]."""
        unscaled = latents.to(self.device) / self.scale + self.shift
        pixels: Tensor = self.vae.decode(unscaled).sample
        return ((pixels + 1) / 2).clamp(0, 1).cpu()


class TinyAutoencoder:
    """A `diffusers` AutoencoderTiny (TAESD): small, and its latents are those of a large one.

    Its latents are scaled already: TAESD's are Stable Diffusion's times .18215.

    Parameters
    ----------
    vae
        The network, see `tiny_folder` and `tiny_files`.
    folder
        Folder that the network was read from.
    name
        Name of the autoencoder, its `id`.
    device
        Device that the autoencoder runs on.
    size
        Side that pictures are resized to; 0 takes `SIZE`, as such folders name none.
    """

    def __init__(
        self, vae: Any, folder: Path, name: str, *, device: torch.device, size: int = 0
    ) -> None:
        self.vae = vae.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.id, self.device = name, device
        self.size = size or SIZE
        # The encoder's first block keeps the size, every other one halves it.
        factor = 2 ** (len(vae.config.encoder_block_out_channels) - 1)
        self.shape = latent_shape(int(vae.config.latent_channels), self.size, factor)
        self.scale = float(vae.config.scaling_factor)
        self.fingerprint = _sized(folder_fingerprint(folder), size)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return scaled latents, of unit standard deviation over natural inputs."""
        check_images(images)
        latents: Tensor = self.vae.encode(resize(images.to(self.device), self.size) * 2 - 1).latents
        return (latents * self.scale).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images in [0, 1]."""
        pixels: Tensor = self.vae.decode(latents.to(self.device) / self.scale).sample
        return ((pixels + 1) / 2).clamp(0, 1).cpu()


def tiny_folder(folder: Path) -> Any:
    """Load an AutoencoderTiny from a folder of diffusers.

    Raises
    ------
    CheckpointError
        If it holds none.
    """
    from diffusers import AutoencoderTiny

    return open_pretrained(AutoencoderTiny, folder)


def tiny_files(folder: Path) -> Any:
    """Load TAESD from its two original files, ``taesd_encoder`` and ``taesd_decoder.safetensors``.

    They hold the weights of two `nn.Sequential`s (madebyollin/taesd). The first layer of the
    original decoder, a clamp without weights, is no layer in diffusers: its numbers are one less.

    Raises
    ------
    CheckpointError
        If a file is missing, torn or of another network.
    """
    from diffusers import AutoencoderTiny
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    try:
        for part, shift in (("encoder", 0), ("decoder", 1)):
            for key, value in load_file(folder / f"taesd_{part}.safetensors").items():
                number, rest = key.split(".", 1)
                weights[f"{part}.layers.{int(number) - shift}.{rest}"] = value.float()
        vae = AutoencoderTiny()
        vae.load_state_dict(weights)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder} holds no TAESD in its two files: {reason}") from error
    return vae


def latent_shape(channels: int, size: int, factor: int) -> tuple[int, int, int]:
    """Return (C, h, w) of the latents of pictures of a size.

    Raises
    ------
    ConfigError
        If the size is none that the autoencoder gives back.
    """
    if size < factor or size % factor:
        raise ConfigError(
            f"an autoencoder that makes pictures {factor} times smaller cannot give back pictures "
            f"of {size} pixels; set targets.vae_size to a multiple of {factor}"
        )
    return channels, size // factor, size // factor


def _sized(fingerprint: str, size: int) -> str:
    """Return a fingerprint that also tells a size that was chosen."""
    return f"{fingerprint}-{size}" if size else fingerprint


class PixelAutoencoder:
    """No autoencoder at all: latents are pixels in [-1, 1], for small, simple figures.

    Parameters
    ----------
    size
        Side that pictures are resized to.
    """

    def __init__(self, size: int) -> None:
        self.id = f"pixels{size}"
        self.shape = (3, size, size)
        self.fingerprint = f"pixels-{size}"

    def encode(self, images: Tensor) -> Tensor:
        """Return images in [-1, 1]."""
        check_images(images)
        return resize(images, self.shape[1]) * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        """Return images in [0, 1]."""
        return ((latents + 1) / 2).clamp(0, 1)


def _asked(size: int) -> dict[str, int]:
    return {"size": size} if size else {}


def _zoo(*, device: torch.device, size: int = 0) -> KLAutoencoder:
    return KLAutoencoder(zoo_folder("vae"), "zoo_vae", device=device, size=size)


def _pixels(text: str = "", *, size: int = 0) -> PixelAutoencoder:
    if not re.fullmatch(r"\d+", text):
        raise ConfigError(f"unknown vae 'pixels:{text}'; known: {KNOWN}")
    return PixelAutoencoder(size or int(text))


def _taesd(text: str = "", *, device: torch.device, size: int = 0) -> TinyAutoencoder:
    folder = Path(text).expanduser()
    return TinyAutoencoder(tiny_files(folder), folder, "taesd", device=device, size=size)


AUTOENCODERS: dict[str, Any] = {"zoo": _zoo, "pixels": _pixels, "taesd": _taesd}
"""Autoencoders by the names of `targets.vae`, beside folders and hub ids.

An entry is an `Autoencoder`, or a class or function that makes one, as in `ENCODERS`. Add one of
your own as ``mindeye.AUTOENCODERS["mine"] = Mine``.
"""
REGISTRIES["AUTOENCODERS"] = AUTOENCODERS


def load_autoencoder(
    name: str | Autoencoder, *, device: torch.device, weights: Path | None = None, size: int = 0
) -> Autoencoder:
    """Return an autoencoder by its config name.

    Parameters
    ----------
    name
        A name of `AUTOENCODERS`, alone or with what it is made of after a colon (``pixels:SIZE``,
        ``taesd:FOLDER`` with TAESD's two original files); a local folder of an AutoencoderKL or
        AutoencoderTiny or of a pipeline with one in ``vae``; the hub id of a model that was
        fetched; or an autoencoder object.
    device
        Device that it runs on.
    weights
        Folder in which fetched models lie; None looks in the usual places.
    size
        Side that images are resized to; 0 takes the model's own.

    Raises
    ------
    ConfigError
        If the name is none of these or the size does not suit the model.
    CheckpointError
        If the folder does not hold a whole autoencoder.
    """
    if not isinstance(name, str):
        return name
    if name.partition(":")[0] in AUTOENCODERS:
        entry: Autoencoder = make_entry("AUTOENCODERS", name, device=device, **_asked(size))
        return entry
    folder = _folder(name, weights)
    label = folder.name if Path(name).is_dir() else Path(name).name
    if (folder / "model_index.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    kind = _kind(folder)
    if kind == "AutoencoderTiny":
        return TinyAutoencoder(tiny_folder(folder), folder, label, device=device, size=size)
    return KLAutoencoder(folder, label, device=device, size=size)


def _kind(folder: Path) -> str:
    """Return the class of the autoencoder in a folder."""
    path = folder / "config.json"
    known = ("AutoencoderKL", "AutoencoderTiny")
    kind = str(read_settings(path).get("_class_name")) if path.is_file() else "no config.json"
    if kind not in known:
        raise CheckpointError(
            f"{folder} holds no autoencoder that is known here ({kind}); known kinds: "
            f"{', '.join(known)}"
        )
    return kind


def _folder(name: str, weights: Path | None) -> Path:
    from mindeye.weights.find import find_weights

    try:
        folder = find_weights(name, weights)
    except ConfigError as error:
        raise ConfigError(f"unknown vae {name!r}; known: {KNOWN}. {error}") from error
    if not folder.is_dir():
        raise ConfigError(f"the vae {name!r} is a file; known: {KNOWN}")
    return folder
