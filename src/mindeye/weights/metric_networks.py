"""Networks that metrics look through: where each lies, its size, hash and licence, and fetching.

No connection was possible when this was written: addresses and sizes are those that torchvision
0.29 and the SwAV repository (hubconf.py) carry themselves. A torchvision file's name ends in the
first eight digits of its SHA-256. Nobody publishes SwAV's, so nothing but its length is checked
there; the network that reads it refuses every tensor that does not belong.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mindeye.errors import CheckpointError, DataError, UsageError
from mindeye.files import sha256
from mindeye.progress import track
from mindeye.weights.checks import bytes_text, check_address, check_root
from mindeye.weights.download import RemoteFile, TransferError, announced, download_all
from mindeye.weights.fetch import FetchModelsConfig, fetch_models

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
        Approximate size in bytes.
    use
        Network and metrics that it is for.
    licence
        Licence of the weights, with the place where it is stated.
    """

    name: str
    folder: str
    about: int
    use: str
    licence: str

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


def check_digest(path: Path) -> None:
    """Refuse a file whose SHA-256 does not begin as its published name says.

    Raises
    ------
    CheckpointError
        If the content is another one. Files of other names, and SwAV's, are not checked.
    """
    known = METRIC_FILES.get(path.name)
    if known is None or not known.digest:
        return
    found = sha256(path)
    if not found.startswith(known.digest):
        raise CheckpointError(
            f"{path} is not the published file: its SHA-256 begins with "
            f"{found[: len(known.digest)]}, not {known.digest}; delete it and fetch it again"
        )


@dataclass(frozen=True)
class FetchMetricsConfig:
    """What `mindeye fetch metrics` is asked for.

    Parameters
    ----------
    out
        Folder for the files; name it to evaluations by --weights DIR or MINDEYE_WEIGHTS.
    dry_run
        Only list files, sizes and licences, without any connection.
    no_clip
        Leave CLIP ViT-L/14 (1.7 GB) out.
    mirror
        Folder of a web server that has the files under their names; empty for where they are
        published.
    endpoint
        Address of a mirror of the Hugging Face hub, for CLIP.
    attempts
        Tries in a row that bring nothing before a file is given up.
    timeout
        Seconds without a byte after which a connection counts as cut.
    """

    out: Path
    dry_run: bool = False
    no_clip: bool = False
    mirror: str = ""
    endpoint: str = ""
    attempts: int = 5
    timeout: int = 60

    def __post_init__(self) -> None:
        check_address("--mirror", self.mirror, "where the files are published")
        for name in ("attempts", "timeout"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: at least 1 is needed")
        check_root("--out", self.out)

    def url(self, file: MetricFile) -> str:
        """Address at which a file is asked for."""
        return f"{self.mirror.rstrip('/') or file.folder}/{file.name}"


def fetch_metrics(
    config: FetchMetricsConfig,
    *,
    tell: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """List the networks' files with sizes and licences, then download what is missing.

    Parameters
    ----------
    config
        What to download, and where to.
    tell
        Function that gets each line of the list and of the result.
    wait
        Function that sleeps for the given number of seconds between tries.

    Returns
    -------
    list of Path
        Files and folder that are there now; none in a dry run.

    Raises
    ------
    CheckpointError
        If what came, or lies there already, is not the published file.
    TransferError, HubError
        If there is no connection or it keeps breaking off; the same command goes on.
    DataError, MindEyeError
        If a file is gone or cannot be written, or the disk is full.
    """
    for file in METRIC_FILES.values():
        tell(f"  about {bytes_text(file.about):>7}  {file.use}")
        tell(f"                 {config.url(file)}")
        tell(f"                 licence: {file.licence}")
    # The hub's client answers or fails at once; its files have limits of their own.
    clip = FetchModelsConfig(
        config.out, config.dry_run, endpoint=config.endpoint, timeout=min(config.timeout, 10)
    )
    found: list[Path] = []
    try:
        if not config.dry_run:
            config.out.mkdir(parents=True, exist_ok=True)
            found += _download(config, tell, wait)
        if not config.no_clip:
            found += fetch_models([CLIP], clip, tell=tell)
    except OSError as error:
        raise DataError(f"cannot use --out {config.out}: {error}") from error
    if not config.dry_run:
        tell(
            f"use them with --weights {config.out} (evaluate) or MINDEYE_WEIGHTS={config.out} (any "
            "run)"
        )
    elif config.no_clip:
        tell("nothing was downloaded")
    return found


def _download(
    config: FetchMetricsConfig, tell: Callable[[str], None], wait: Callable[[float], None]
) -> list[Path]:
    """Check what is here, then bring the rest, one file after the other."""
    missing: dict[Path, RemoteFile] = {}
    for name, file in track(METRIC_FILES.items(), "check"):
        target = config.out / name
        if target.is_file():
            check_digest(target)
            tell(f"{name} is here already")
            continue
        try:
            url = config.url(file)
            missing[target] = announced(url, timeout=config.timeout, digest=file.digest)
        except TransferError as error:
            raise TransferError(f"{error}; nothing is lost, run the same command again") from error
    download_all(
        missing,
        attempts=config.attempts,
        timeout=config.timeout,
        wait=wait,
        advice="choose another --out",
    )
    for target, remote in missing.items():
        checked = "size as announced; no hash of it is published"
        if remote.sha256:
            checked = f"SHA-256 begins with {remote.sha256} as its name says"
        tell(f"{target.name}: {bytes_text(remote.size)}, {checked}")
    return [config.out / name for name in METRIC_FILES]
