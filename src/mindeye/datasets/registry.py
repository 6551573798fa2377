"""The sources that can be prepared, by name; one's own can be added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindeye.datasets.arrays import ArraysConfig, read_arrays
from mindeye.datasets.bdata import BdataConfig, read_bdata
from mindeye.datasets.glmsingle import GlmsingleConfig, read_glmsingle
from mindeye.datasets.mindeye2 import MindEye2Config, read_mindeye2
from mindeye.datasets.nsd.imagery import ImageryConfig, read_imagery
from mindeye.datasets.nsd.layout import NsdConfig
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.datasets.nsd.synthetic import SyntheticConfig, read_synthetic
from mindeye.datasets.recording import Recording
from mindeye.datasets.shards import ShardsConfig, read_shards
from mindeye.errors import UsageError

NSD_ROOT = "NSD's own tree: nsddata, nsddata_betas, nsddata_stimuli"


@dataclass(frozen=True)
class Dataset:
    """A kind of source: how it is described, configured and read.

    Parameters
    ----------
    help
        What the source is, in one line, as `mindeye prepare --help` lists it.
    config
        Dataclass with one field for every flag of `mindeye prepare NAME`; the flag's help is the
        field's entry under "Parameters" in the docstring of the class.
    read
        Function that returns the `Recording`: takes the config alone, or the root folder and the
        config if `root` is given.
    root
        What the folder given as `--root` holds; empty if the source has no such folder.

    Examples
    --------
    A source of one's own is a dataclass, a function, and one entry:

    >>> from dataclasses import dataclass
    >>> from pathlib import Path
    >>> @dataclass(frozen=True)
    ... class MyConfig:
    ...     '''Where the recording is.
    ...
    ...     Parameters
    ...     ----------
    ...     file
    ...         The file of the recording system.
    ...     '''
    ...
    ...     file: Path
    >>> def read_mine(config: MyConfig) -> Recording: ...
    >>> DATASETS["mine"] = Dataset("recordings of my laboratory", MyConfig, read_mine)
    >>> del DATASETS["mine"]
    """

    help: str
    config: type[Any]
    read: Callable[..., Recording]
    root: str = ""

    def open(self, config: Any, root: Path | None = None) -> Recording:
        """Read a recording.

        Parameters
        ----------
        config
            Instance of this source's config class.
        root
            Folder of the source's files, if the source has one.

        Raises
        ------
        UsageError
            If the source needs a root folder and none is given.
        DataError
            If a file is missing, malformed, or does not fit the others.
        """
        if not self.root:
            return self.read(config)
        if root is None:
            raise UsageError(f"give root: {self.root}")
        return self.read(root, config)


DATASETS: dict[str, Dataset] = {
    "arrays": Dataset(
        "anyone's arrays: betas.npy, images, trials.csv", ArraysConfig, read_arrays
    ),
    "nsd": Dataset(
        "the Natural Scenes Dataset as downloaded (betas, ROIs, design, stimuli)",
        NsdConfig, read_nsd, NSD_ROOT,
    ),
    "nsd-synthetic": Dataset(
        "NSD-synthetic: the 284 test pictures outside natural scenes",
        SyntheticConfig, read_synthetic, NSD_ROOT,
    ),
    "nsd-imagery": Dataset(
        "NSD-imagery: pictures seen, and imagined", ImageryConfig, read_imagery, NSD_ROOT
    ),
    "shards": Dataset(
        "the shards that MindEye 1 was trained on (webdataset_avg_split)",
        ShardsConfig, read_shards, "folder with train/, val/, test/ of the shards",
    ),
    "mindeye2": Dataset(
        "MindEye 2's betas (hdf5) and behaviour shards",
        MindEye2Config, read_mindeye2, "folder with the betas, wds/ and coco_images",
    ),
    "glmsingle": Dataset(
        "a BIDS data set with GLMsingle's outputs (.hdf5, .mat)", GlmsingleConfig, read_glmsingle
    ),
    "bdata": Dataset("bdata HDF5 files of the Kamitani lab", BdataConfig, read_bdata),
}  # fmt: skip
"""Every source that `mindeye prepare` reads, by name."""
