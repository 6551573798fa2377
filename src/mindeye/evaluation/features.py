"""Feature extractors: the paper's networks, and a door for any other.

Every extractor owns its resize and normalisation; it takes images in [0, 1] and gives one row
of features per image. Nothing is downloaded here: weights come from a folder or from the usual
local caches, and a network whose weights are not on the machine is *named as missing*. It is
never replaced by another one, because two-way scores of different networks do not compare.

Layers and preprocessing follow the evaluation script of the authors of MindEye: torchvision
default weights, bilinear resize without antialiasing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mindeye.errors import CheckpointError, DataError
from mindeye.evaluation.pixels import resize_images

Comparison = Literal["two_way", "distance"]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_BATCH = 32


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
        with torch.no_grad():
            return torch.cat(
                [
                    self.function(images[start : start + _BATCH]).flatten(1).float().cpu()
                    for start in range(0, len(images), _BATCH)
                ]
            )


@dataclass(frozen=True)
class Network:
    """One of the paper's networks: what it needs and how its features are read."""

    name: str
    title: str
    weights: str
    how: str
    comparison: Comparison
    size: int
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    build: Callable[[Path], nn.Module]


@dataclass(frozen=True)
class Missing:
    """A network whose metric cannot be computed here, and what to do about it."""

    name: str
    why: str
    how: str

    @property
    def metric(self) -> str:
        """Name of the metric that is missing from the table."""
        return f"{NETWORKS[self.name].comparison}_{self.name}"


def available_extractors(
    weights_dir: Path | None = None,
) -> tuple[list[FeatureExtractor], list[Missing]]:
    """Load every paper network whose weights are on this machine; name the others.

    Parameters
    ----------
    weights_dir : Path, optional
        Folder searched first; then the torch hub and Hugging Face caches.

    Returns
    -------
    extractors : list of FeatureExtractor
        In the order of `NETWORKS`.
    missing : list of Missing
        Name, reason and remedy of each of the rest.
    """
    found: list[FeatureExtractor] = []
    missing: list[Missing] = []
    for network in NETWORKS.values():
        path = find_weights(network.name, weights_dir)
        if path is None:
            why = f"{network.weights} is not on this machine"
        else:
            try:
                found.append(load_extractor(network.name, path))
                continue
            except CheckpointError as error:
                why = str(error)
        missing.append(Missing(network.name, why, network.how))
    return found, missing


def find_weights(name: str, weights_dir: Path | None = None) -> Path | None:
    """Look for a network's weights in a folder and the local caches; never download."""
    weights = _network(name).weights
    places = [] if weights_dir is None else [Path(weights_dir) / weights]
    places.append(Path(torch.hub.get_dir()) / "checkpoints" / weights)
    if "/" in weights:
        places += _hub_snapshots(weights)
        if weights_dir is not None:
            places.insert(1, Path(weights_dir) / weights.rpartition("/")[2])
    return next((place for place in places if place.exists()), None)


def load_extractor(name: str, path: Path) -> FeatureExtractor:
    """Load a paper network from its weights file or folder.

    Raises
    ------
    CheckpointError
        If the file is torn or holds another network.
    DataError
        If the name is unknown; lists the known ones.
    """
    network = _network(name)
    try:
        module = network.build(path).eval().requires_grad_(False)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path} does not load as {network.title}: {reason}") from error
    mean, std = (torch.tensor(x)[:, None, None] for x in network.statistics)

    def features(images: Tensor) -> Tensor:
        resized = resize_images(images.float(), network.size, antialias=False)
        return torch.as_tensor(module((resized - mean) / std))

    return FunctionExtractor(name, features, network.comparison)


def _network(name: str) -> Network:
    if name not in NETWORKS:
        raise DataError(f"unknown feature network {name}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def _hub_snapshots(repository: str) -> list[Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    return sorted(folder.glob("*"))


def _state(path: Path) -> dict[str, Any]:
    """Read a state dict; refuses pickles that hold more than tensors."""
    import pickle

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is not a plain weights file") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds no state dict")
    return loaded


def _alexnet(last: int) -> Callable[[Path], nn.Module]:
    def build(path: Path) -> nn.Module:
        from torchvision.models import alexnet

        model = alexnet(weights=None)
        model.load_state_dict(_state(path))
        return nn.Sequential(*list(model.features)[: last + 1])

    return build


def _inception(path: Path) -> nn.Module:
    from torchvision.models import inception_v3

    # transform_input: what torchvision sets when it loads these weights itself
    model = inception_v3(weights=None, transform_input=True, init_weights=False)
    model.load_state_dict(_state(path))
    model.dropout, model.fc = nn.Identity(), nn.Identity()
    return model  # type: ignore[no-any-return]


def _efficientnet(path: Path) -> nn.Module:
    from torchvision.models import efficientnet_b1

    model = efficientnet_b1(weights=None)
    model.load_state_dict(_state(path))
    model.classifier = nn.Identity()
    return model  # type: ignore[no-any-return]


def _swav(path: Path) -> nn.Module:
    from torchvision.models import resnet50

    model = resnet50(weights=None)
    model.fc = nn.Identity()
    state = {key.removeprefix("module."): value for key, value in _state(path).items()}
    heads = ("projection_head.", "prototypes.", "fc.")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads)})
    return model  # type: ignore[no-any-return]


class _ClipImageEmbedding(nn.Module):
    def __init__(self, path: Path) -> None:
        from transformers import CLIPVisionModelWithProjection

        super().__init__()
        self.model = CLIPVisionModelWithProjection.from_pretrained(str(path), local_files_only=True)

    def forward(self, pixels: Tensor) -> Any:
        return self.model(pixel_values=pixels).image_embeds


def _torch_hub(url: str) -> str:
    return f"download {url} into the weights folder or the torch hub cache"


_TORCHVISION = "https://download.pytorch.org/models/"
_ALEX = "alexnet-owt-7be5be79.pth"
_INCEPTION = "inception_v3_google-0cc3c7bd.pth"
_EFFICIENT = "efficientnet_b1-c27df63c.pth"
_SWAV = "swav_800ep_pretrain.pth.tar"
_CLIP_REPO = "openai/clip-vit-large-patch14"

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "alexnet2", "AlexNet, second layer (features.4)", _ALEX,
            _torch_hub(_TORCHVISION + _ALEX), "two_way", 256, _IMAGENET, _alexnet(4),
        ),
        Network(
            "alexnet5", "AlexNet, fifth layer (features.11)", _ALEX,
            _torch_hub(_TORCHVISION + _ALEX), "two_way", 256, _IMAGENET, _alexnet(11),
        ),
        Network(
            "inception_v3", "Inception v3, average pool", _INCEPTION,
            _torch_hub(_TORCHVISION + _INCEPTION), "two_way", 342, _IMAGENET, _inception,
        ),
        Network(
            "clip_vit_l14", "CLIP ViT-L/14, image embedding", _CLIP_REPO,
            f"hf download {_CLIP_REPO}", "two_way", 224, _CLIP, _ClipImageEmbedding,
        ),
        Network(
            "efficientnet_b1", "EfficientNet-B1, average pool", _EFFICIENT,
            _torch_hub(_TORCHVISION + _EFFICIENT), "distance", 255, _IMAGENET, _efficientnet,
        ),
        Network(
            "swav", "SwAV ResNet-50, average pool", _SWAV,
            _torch_hub("https://dl.fbaipublicfiles.com/deepcluster/" + _SWAV),
            "distance", 224, _IMAGENET, _swav,
        ),
    )
}  # fmt: skip
"""The paper's networks by name, in the order in which the paper reports them."""
