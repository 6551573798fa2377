"""The paper's feature networks: which layer of which weights, and how a module is built of them.

Layers and preprocessing are those of the authors' evaluation script (Reconstruction_Metrics of
MedARC-AI/fMRI-reconstruction-NSD): torchvision's default weights, bilinear resize of the whole
picture to the size that the weights' own preprocessing resizes to, without its central crop. No
code of others is fetched: SwAV's weights go into torchvision's ResNet-50. The published files
were not at hand here; names of tensors are those of torchvision, and of SwAV's hubconf.py.

Axes: N images, C H W of a feature map, D width.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mindeye.errors import CheckpointError
from mindeye.weights.metric_networks import ALEXNET, CLIP, EFFICIENTNET, INCEPTION, SWAV
from mindeye.weights.pretrained import open_pretrained

Comparison = Literal["two_way", "distance"]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation by channel of torchvision's ImageNet models."""
CLIP_STATISTICS: Statistics = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
"""The same of OpenAI's CLIP."""

CLIP_SHAPE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 768,
}
"""What makes a CLIP image tower a ViT-L/14."""

HOW = "mindeye fetch metrics --out DIR, then --weights DIR or MINDEYE_WEIGHTS=DIR"
"""What gets weights that are missing, where no folder was named."""


@dataclass(frozen=True)
class Network:
    """One layer of one of the paper's networks, whose features are a metric's.

    Parameters
    ----------
    name
        Name of the layer, as in metric names.
    title
        Name for people.
    weights
        File name, or hub id; layers of the same weights come from one forward pass.
    layer
        Place among what the module gives.
    comparison
        Metric that the features are for.
    size
        Side in pixels that pictures are resized to.
    statistics
        Mean and standard deviation by channel.
    build
        Makes the module from the weights' path, or with random weights from None (for timing
        only). It maps normalised pictures (N, 3, H, W) to one tensor a layer.
    preference
        Place among networks of which the page shows one, from 1; 0 is shown where no other is.
    """

    name: str
    title: str
    weights: str
    layer: int
    comparison: Comparison
    size: int
    statistics: Statistics
    build: Callable[[Path | None], nn.Module]
    preference: int = 0

    @property
    def metric(self) -> str:
        """Name of the metric in the table."""
        return f"{self.comparison}_{self.name}"

    @property
    def how(self) -> str:
        """How its weights come to this machine."""
        return HOW


class _Layers(nn.Module):
    """Stages one after the other; gives what each of them does (N, C, H, W) or (N, D)."""

    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = []
        for stage in self.stages:
            pixels = stage(pixels)
            found.append(pixels)
        return tuple(found)


def _state(path: Path) -> Mapping[str, Any]:
    """Read a state dict; refuses pickles that hold more than tensors."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is no whole safetensors file: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is not a plain weights file") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds no state dict")
    return loaded


def _fill(model: nn.Module, path: Path | None) -> None:
    if path is not None:
        model.load_state_dict(_state(path))


def _alexnet(path: Path | None) -> nn.Module:
    from torchvision.models import alexnet

    model = alexnet(weights=None)
    _fill(model, path)
    stages = list(model.features)
    # features.4 and features.11, after their ReLU; the max pooling that follows leaves them alone
    return _Layers(nn.Sequential(*stages[:5]), nn.Sequential(*stages[5:12]))


def _inception(path: Path | None) -> nn.Module:
    from torchvision.models import inception_v3

    # transform_input: what torchvision sets when it loads these weights itself
    model = inception_v3(weights=None, transform_input=True, init_weights=False)
    _fill(model, path)
    model.dropout, model.fc = nn.Identity(), nn.Identity()
    return _Layers(model)


def _efficientnet(path: Path | None) -> nn.Module:
    from torchvision.models import efficientnet_b1

    model = efficientnet_b1(weights=None)
    _fill(model, path)
    model.classifier = nn.Identity()
    return _Layers(model)


def _swav(path: Path | None) -> nn.Module:
    from torchvision.models import resnet50

    model = resnet50(weights=None)
    model.fc = nn.Identity()
    if path is not None:
        state = {key.removeprefix("module."): value for key, value in _state(path).items()}
        if "fc.weight" in state:
            raise CheckpointError(
                f"{path} holds a classifier (fc.weight), so it is a supervised ResNet-50 and not "
                "SwAV's, which has none"
            )
        heads = ("projection_head.", "prototypes.")
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith(heads)})
    return _Layers(model)


class _ClipImageEmbedding(nn.Module):
    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.model = _random_clip() if path is None else _loaded_clip(path)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.model(pixel_values=pixels).image_embeds,)


def _random_clip() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**CLIP_SHAPE, intermediate_size=4096, num_attention_heads=16)
    return CLIPVisionModelWithProjection(config)


def _loaded_clip(path: Path) -> Any:
    """Read a folder of CLIP ViT-L/14."""
    from transformers import CLIPVisionModelWithProjection

    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; CLIP is a folder with config.json and weights")
    model = open_pretrained(CLIPVisionModelWithProjection, path)
    for name, value in CLIP_SHAPE.items():
        actual = getattr(model.config, name, None)
        if actual != value:
            raise CheckpointError(
                f"{path} is no CLIP ViT-L/14: its {name} is {actual}, not {value}"
            )
    return model


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "alexnet2", "AlexNet, layer 2", ALEXNET, 0,
            "two_way", 256, IMAGENET, _alexnet,
        ),
        Network(
            "alexnet5", "AlexNet, layer 5", ALEXNET, 1,
            "two_way", 256, IMAGENET, _alexnet, preference=3,
        ),
        Network(
            "inception_v3", "Inception v3", INCEPTION, 0,
            "two_way", 342, IMAGENET, _inception, preference=2,
        ),
        Network(
            "clip_vit_l14", "CLIP ViT-L/14", CLIP, 0,
            "two_way", 224, CLIP_STATISTICS, _ClipImageEmbedding, preference=1,
        ),
        Network(
            "efficientnet_b1", "EfficientNet-B1", EFFICIENTNET, 0,
            "distance", 255, IMAGENET, _efficientnet,
        ),
        Network(
            "swav", "SwAV", SWAV, 0,
            "distance", 224, IMAGENET, _swav,
        ),
    )
}  # fmt: skip
"""The paper's networks by name, in the order in which the paper reports them."""
