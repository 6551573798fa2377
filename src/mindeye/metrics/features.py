"""Feature extractors: the paper's networks, and a door for any other.

Every extractor owns its resize and normalisation; it takes images in [0, 1] and gives one row
of features per image. Nothing is downloaded here: weights come from a folder or from the usual
local caches, and a network whose weights are not on the machine is *named as missing*. It is
never replaced by another one, because two-way scores of different networks do not compare.

Axes: N images, D features of an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mindeye.errors import CheckpointError, DataError
from mindeye.metrics.networks import HOW, NETWORKS, Comparison, Network
from mindeye.metrics.pixels import resize_images
from mindeye.targets.encoders import Encoder
from mindeye.weights.find import ROOT_VARIABLE, folders_of, hub_cache
from mindeye.weights.metric_networks import check_digest
from mindeye.weights.table import MODELS

__all__ = [
    "NETWORKS",
    "FeatureExtractor",
    "FunctionExtractor",
    "LayerExtractor",
    "LoadedNetwork",
    "Missing",
    "available_extractors",
    "extract_all",
    "extractors_of",
    "find_weights",
    "load_extractor",
    "load_network",
]

_BATCH = 32
"""Images a forward pass: 342 px Inception then takes 0.4 GB; larger ones are no faster on CPUs."""


@runtime_checkable
class FeatureExtractor(Protocol):
    """Anything that turns images into rows of features.

    ``comparison`` says which metric its features are for: ``two_way`` identification or
    correlation ``distance``. The metric is called ``<comparison>_<name>``.
    """

    @property
    def name(self) -> str:
        """Name of the network and layer, as it appears in metric names."""

    @property
    def comparison(self) -> Comparison:
        """Metric the features are used for."""

    def extract(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class FunctionExtractor:
    """An extractor made of a function, for the encoder that a run uses itself.

    Name it after what it is (``zoo_clip``), so that no reader takes it for the paper's CLIP.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    comparison: Comparison = "two_way"

    def extract(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [0, 1]; trailing axes are flattened."""
        return _in_batches(lambda batch: [self.function(batch)], images, _BATCH)[0]


def encoder_network(encoder: Encoder) -> FunctionExtractor:
    """Return an encoder as a feature network under its own name, see `Encoder.features`."""
    return FunctionExtractor(encoder.id, encoder.features)


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network in memory, with its resize and normalisation.

    Parameters
    ----------
    module
        Maps normalised pictures (B, 3, H, W) to one tensor a layer.
    layers
        Their entries in `NETWORKS`, by place.
    device
        Device of the module, which batches are brought to.
    batch
        Images a forward pass.
    """

    module: nn.Module
    layers: tuple[Network, ...]
    device: torch.device
    batch: int = _BATCH

    def extract(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Features (N, D) of every named layer, from one forward pass a batch."""
        size, statistics = self.layers[0].size, self.layers[0].statistics
        mean, std = (torch.tensor(x, device=self.device)[:, None, None] for x in statistics)
        places = [layer.layer for layer in self.layers]
        wanted = [places[[x.name for x in self.layers].index(name)] for name in names]

        def features(batch: Tensor) -> list[Tensor]:
            pixels = batch.to(self.device, torch.float32)
            resized = resize_images(pixels, size, antialias=False)
            normal = ((resized - mean) / std).contiguous(memory_format=torch.channels_last)
            found = self.module(normal)
            return [found[place] for place in wanted]

        return _in_batches(features, images, self.batch)


@dataclass(frozen=True)
class LayerExtractor:
    """One layer of a loaded network as an extractor; `extract_all` shares its forward passes."""

    name: str
    comparison: Comparison
    network: LoadedNetwork

    def extract(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [0, 1]."""
        return self.network.extract(images, [self.name])[0]


@dataclass(frozen=True)
class Missing:
    """A network whose metric cannot be computed here, and the command that gets it."""

    name: str
    why: str
    how: str

    @property
    def metric(self) -> str:
        """Name of the metric that is missing from the table."""
        return NETWORKS[self.name].metric


def extract_all(
    extractors: Iterable[FeatureExtractor], images: Tensor
) -> Iterator[tuple[FeatureExtractor, Tensor]]:
    """Features (N, D) of every extractor, one forward pass a batch for layers of one network.

    Yields network after network, in the order of their first layers, so that a caller who drops
    what it got holds the features of one network at a time.
    """
    groups: dict[int, list[FeatureExtractor]] = {}
    for one in extractors:
        key = id(one.network) if isinstance(one, LayerExtractor) else id(one)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        first = group[0]
        if isinstance(first, LayerExtractor):
            found = first.network.extract(images, [one.name for one in group])
        else:
            found = [first.extract(images)]
        for one in group:
            yield one, found.pop(0)


def available_extractors(
    weights_dir: Path | None = None, *, device: torch.device | str = "cpu", verify: bool = True
) -> tuple[list[FeatureExtractor], list[Missing]]:
    """Load every paper network whose weights are on this machine; name the others.

    Parameters
    ----------
    weights_dir : Path, optional
        Folder searched first, by default the environment's MINDEYE_WEIGHTS; then the torch hub
        and Hugging Face caches.
    device : torch.device or str
        Device that the networks run on.
    verify : bool
        Check the SHA-256 that torchvision's file names carry.

    Returns
    -------
    extractors : list of FeatureExtractor
        In the order of `NETWORKS`.
    missing : list of Missing
        Name, reason and remedy of each of the rest.
    """
    loaded: dict[str, LoadedNetwork] = {}
    reasons: dict[str, str] = {}
    for weights, layers in _by_weights().items():
        path = find_weights(layers[0].name, weights_dir)
        if path is None:
            reasons[weights] = f"{weights} is not on this machine"
            continue
        try:
            loaded[weights] = load_network(layers[0].name, path, device=device, verify=verify)
        except CheckpointError as error:
            reasons[weights] = str(error)
    how = _command(weights_dir)
    found = [LayerExtractor(x.name, x.comparison, loaded[x.weights])
             for x in NETWORKS.values() if x.weights in loaded]  # fmt: skip
    missing = [Missing(x.name, reasons[x.weights], how)
               for x in NETWORKS.values() if x.weights in reasons]  # fmt: skip
    return list(found), missing


def _command(weights_dir: Path | None) -> str:
    folder = _root(weights_dir)
    if folder is not None:
        return f"mindeye fetch metrics --out {folder}"
    return HOW


def _root(weights_dir: Path | None) -> Path | None:
    if weights_dir is not None:
        return Path(weights_dir)
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named).expanduser() if named else None


def find_weights(name: str, weights_dir: Path | None = None) -> Path | None:
    """Look for a network's weights in a folder and the local caches; never download.

    A ``.safetensors`` file of the same stem stands for the published ``.pth``.

    Raises
    ------
    DataError
        If the name is unknown, or `weights_dir` is no folder.
    """
    weights = _network(name).weights
    root = _root(weights_dir)
    if root is not None and not root.is_dir():
        raise DataError(f"there is no folder {root} of weights; name another one")
    if weights in MODELS:
        places = _clip_places(weights, root)
    else:
        folders = [] if root is None else [root, root / "checkpoints"]
        folders.append(Path(torch.hub.get_dir()) / "checkpoints")
        stem = weights.removesuffix(".tar").removesuffix(".pth")
        places = [f / n for f in folders for n in (weights, f"{stem}.safetensors")]
    return next((place for place in places if place.exists()), None)


def _clip_places(identity: str, root: Path | None) -> list[Path]:
    places = []
    if root is not None:
        places += [*folders_of(MODELS[identity], root), root / identity.rpartition("/")[2]]
    cache = hub_cache()
    snapshots = (cache / f"models--{identity.replace('/', '--')}" / "snapshots").glob("*")
    return [*places, *folders_of(MODELS[identity], cache), *sorted(snapshots)]


def load_network(
    name: str, path: Path | None, *, device: torch.device | str = "cpu", verify: bool = True
) -> LoadedNetwork:
    """Load the network of a layer from its weights.

    Parameters
    ----------
    name : str
        Name of one of the network's layers.
    path : Path or None
        Weights file or folder; None builds it with random weights, which is for timing only.
    device : torch.device or str
        Device that the network runs on.
    verify : bool
        Check the SHA-256 that torchvision's file names carry.

    Raises
    ------
    CheckpointError
        If the file is torn, is not the published one, or holds another network.
    DataError
        If the name is unknown; lists the known ones.
    """
    from safetensors import SafetensorError

    network = _network(name)
    if path is not None and verify and path.is_file():
        _verify(path)
    # What torch, safetensors and transformers raise on torn files and on those of other content.
    wrong = (OSError, RuntimeError, EOFError, ArithmeticError, SafetensorError, LookupError,
             ValueError, TypeError, AttributeError)  # fmt: skip
    try:
        module = network.build(path).eval().requires_grad_(False)
    except wrong as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path} does not load as {network.title}: {reason}") from error
    place = torch.device(device)
    # Channels last: Inception takes two thirds of the time on a CPU, the others 0.85 to 0.9.
    module = module.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedNetwork(module, tuple(_by_weights()[network.weights]), place)


def _verify(path: Path) -> None:
    try:
        check_digest(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def load_extractor(
    name: str, path: Path, *, device: torch.device | str = "cpu", verify: bool = True
) -> FeatureExtractor:
    """Load one layer of a paper network; parameters and errors as in `load_network`."""
    network = load_network(name, path, device=device, verify=verify)
    return LayerExtractor(name, NETWORKS[name].comparison, network)


def extractors_of(network: LoadedNetwork) -> list[FeatureExtractor]:
    """Return one extractor a layer of a loaded network."""
    return [LayerExtractor(x.name, x.comparison, network) for x in network.layers]


def _by_weights() -> dict[str, list[Network]]:
    groups: dict[str, list[Network]] = {}
    for network in NETWORKS.values():
        groups.setdefault(network.weights, []).append(network)
    return groups


def _network(name: str) -> Network:
    if name not in NETWORKS:
        raise DataError(f"unknown feature network {name}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def _in_batches(
    features: Callable[[Tensor], Sequence[Tensor]], images: Tensor, batch: int
) -> list[Tensor]:
    """Apply a function batch by batch, into one float32 array (N, D) a result, without a copy."""
    if len(images) == 0:
        raise DataError("there are no images to take features of")
    whole: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            some = features(images[start : start + batch])
            rows = [one.flatten(1).float().cpu() for one in some]
            if not whole:
                whole = [torch.empty(len(images), row.shape[1]) for row in rows]
            for into, row in zip(whole, rows, strict=True):
                into[start : start + len(row)] = row
    return whole
