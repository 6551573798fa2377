"""Feature maps of networks in timm: ConvNeXt, EfficientNet and others that have a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, ConfigError, MissingDependencyError
from mindeye.targets.encoders.base import (
    Facts,
    NetworkEncoder,
    Normalisation,
    folder_fingerprint,
    unit,
)
from mindeye.targets.encoders.preprocessing import Preprocessing, blank
from mindeye.weights.pretrained import read_settings

LITE = "tf_efficientnet_lite"
LITE_MEAN, LITE_DEVIATION = 127 / 255, 128 / 255
"""EfficientNet-Lite's authors train on (x - 127) / 128 for x in 0..255; timm rounds both to .5."""


class TimmEncoder(NetworkEncoder):
    """The last feature map of a network of `timm`, its positions as tokens, row by row.

    The map is taken before any final norm or head convolution: 7 x 7 x 2,048 of ConvNeXt-XL, 7 x 7
    x 320 of EfficientNet-Lite0, both at 224 pixels. There is no class token; tokens are divided by
    the root mean square of their norms. The pooled embedding is what the network's classifier is
    given, at norm 1. A picture is seen whole: the crop of the network's own evaluation would leave
    out what the brain saw.

    Parameters
    ----------
    network
        Network of `timm`, see `timm_folder` and `timm_file`.
    name
        Name of the encoder, its `id`.
    size
        Side that pictures are resized to; 0 takes the network's own.
    device
        Device that the network runs on.
    """

    has_class_token = False
    normalisation: Normalisation = "rms"

    def __init__(
        self,
        network: tuple[Any, dict[str, Any], Path],
        name: str,
        *,
        size: int = 0,
        device: torch.device,
    ) -> None:
        model, own, where = network
        model.eval()
        side = size or int(own["input_size"][1])
        preprocessing = Preprocessing(
            side, tuple(own["mean"]), tuple(own["std"]), None, own["interpolation"]
        )
        fingerprint = f"{folder_fingerprint(where, 'timm', 'torchvision')}-{side}"
        try:
            with torch.inference_mode():
                tokens, width = timm_tokens(model, blank(side)).shape[1:]
                pooled = int(timm_pooled(model, blank(side)).shape[-1])
        except (RuntimeError, AssertionError, AttributeError, NotImplementedError) as error:
            raise ConfigError(
                f"{where} gives no feature map of pictures of {side} pixels: {error}"
            ) from error
        facts = Facts(name, tokens, width, pooled, preprocessing, fingerprint)
        super().__init__(model, facts, device=device)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return timm_tokens(self.model, pixels)

    @torch.inference_mode()
    def pool(self, images: Tensor) -> Tensor:
        """Return what the classifier is given (N, 1, D), at norm 1."""
        return unit(timm_pooled(self.model, self._pixels(images))).cpu()


def timm_tokens(model: Any, pixels: Tensor) -> Tensor:
    """Return the last feature map as tokens (N, h * w, C), row by row."""
    grid: Tensor = model.forward_intermediates(
        pixels, indices=1, output_fmt="NCHW", intermediates_only=True
    )[-1]
    return grid.flatten(2).transpose(1, 2).contiguous()


def timm_pooled(model: Any, pixels: Tensor) -> Tensor:
    """Return what the network's classifier is given (N, D)."""
    pooled: Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
    return pooled


def timm_folder(folder: Path) -> tuple[Any, dict[str, Any], Path]:
    """Load a network from a folder as `timm.models.save_for_hf` writes it.

    Returns
    -------
    model, preprocessing, folder
        Preprocessing as timm describes it.

    Raises
    ------
    CheckpointError
        If architecture and weights are not there or do not belong together.
    """
    config = read_settings(folder / "config.json")
    options = {**(config.get("model_args") or {}), "num_classes": config.get("num_classes")}
    model = _build(str(config["architecture"]), options, folder)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"{folder} has config.json but no model.safetensors; fetch it again")
    _fill(model, weights)
    given = config.get("pretrained_cfg") or {}
    return model, {**model.pretrained_cfg, **given}, folder


def timm_file(architecture: str, path: Path) -> tuple[Any, dict[str, Any], Path]:
    """Load a network from a bare safetensors file with timm's names of weights.

    Raises
    ------
    CheckpointError
        If the file is missing or its weights are not those of the architecture.
    """
    from mindeye.weights.complete import check_file

    if path.suffix != ".safetensors" or not path.is_file():
        raise CheckpointError(f"there is no safetensors file {path} for timm:{architecture}:FILE")
    check_file(path)
    model = _build(architecture, {}, path)
    _fill(model, path)
    own = dict(model.pretrained_cfg)
    if architecture.startswith(LITE):
        own |= {"mean": (LITE_MEAN,) * 3, "std": (LITE_DEVIATION,) * 3}
    return model, own, path


def _build(architecture: str, options: dict[str, Any], where: Path) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError("timm", "encoders") from error

    if architecture.partition(".")[0] not in timm.list_models():
        raise CheckpointError(f"{where}: timm knows no architecture {architecture!r}")
    try:
        return timm.create_model(architecture, pretrained=False, **options)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{where}: timm cannot build {architecture}: {error}") from error


def _fill(model: Any, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
        model.load_state_dict({k: _wide(v) for k, v in weights.items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} does not fit its architecture: {reason}") from error


def _wide(weight: Tensor) -> Tensor:
    return weight.float() if weight.is_floating_point() else weight
