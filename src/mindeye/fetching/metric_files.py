"""Weights of the networks that metrics look through: where each lies, its size, hash and licence.

No connection was possible when this was written: addresses and sizes are those that torchvision
0.29 and the SwAV repository (hubconf.py) carry themselves. A torchvision file's name ends in the
first eight digits of its SHA-256. Nobody publishes SwAV's, so nothing but its length is checked
there; the network that reads it refuses every tensor that does not belong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mindeye.errors import CheckpointError
from mindeye.files import sha256

CLIP = "openai/clip-vit-large-patch14"
"""Hub id of the CLIP whose image embedding is scored; its entry is in `mindeye.weights.table`."""

_HASH = re.compile(r"-([0-9a-f]{8,64})\.pth$")


@dataclass(frozen=True)
class MetricFile:
    """A weights file of a metric's network.

    Parameters
    ----------
    name
        File name, which is what it is looked up by.
    folder
        Address of the folder it is published in.
    about
        Bytes, about.
    use
        Network and metrics that it is for.
    licence
        Terms of use, and where they are stated.
    """

    name: str
    folder: str
    about: int
    use: str
    licence: str

    @property
    def url(self) -> str:
        """Where it is published."""
        return f"{self.folder}/{self.name}"

    @property
    def digest(self) -> str:
        """First digits of its SHA-256 as its name carries them, "" where it carries none."""
        match = _HASH.search(self.name)
        return match[1] if match else ""


_TORCHVISION = "https://download.pytorch.org/models"
_TERMS = (
    "of torchvision's code BSD-3-Clause; its weights may have terms of their own that come from "
    "the training data, ImageNet (torchvision's README, from memory)"
)

ALEXNET = "alexnet-owt-7be5be79.pth"
INCEPTION = "inception_v3_google-0cc3c7bd.pth"
EFFICIENTNET = "efficientnet_b1-c27df63c.pth"
SWAV = "swav_800ep_pretrain.pth.tar"

METRIC_FILES: dict[str, MetricFile] = {
    file.name: file
    for file in (
        MetricFile(
            ALEXNET, _TORCHVISION, 244_408_911, "AlexNet: two_way_alexnet2, two_way_alexnet5",
            _TERMS,
        ),
        MetricFile(
            INCEPTION, _TORCHVISION, 108_950_000, "Inception v3: two_way_inception_v3", _TERMS
        ),
        MetricFile(
            EFFICIENTNET, _TORCHVISION, 31_600_000,
            "EfficientNet-B1, second weights: distance_efficientnet_b1", _TERMS,
        ),
        MetricFile(
            SWAV, "https://dl.fbaipublicfiles.com/deepcluster", 108_000_000,
            "SwAV ResNet-50, 800 epochs: distance_swav",
            "CC BY-NC 4.0 (LICENSE of facebookresearch/swav, from memory): no commercial use",
        ),
    )
}  # fmt: skip
"""Files by name. Sizes in bytes: torchvision's ``_file_size`` (MiB); SwAV's from its parameters."""


def check_digest(path: Path, name: str = "") -> None:
    """Refuse a file whose SHA-256 does not begin as its published name says.

    Parameters
    ----------
    path
        The file.
    name
        Published name of the file; by default the one that it has.

    Raises
    ------
    CheckpointError
        If the content is another one. Files of other names, and SwAV's, are not checked.
    """
    known = METRIC_FILES.get(name or path.name)
    if known is None or not known.digest:
        return
    found = sha256(path)
    if not found.startswith(known.digest):
        raise CheckpointError(
            f"{path} is not the published file: its SHA-256 begins with "
            f"{found[: len(known.digest)]}, not {known.digest}; delete it and fetch it again"
        )
