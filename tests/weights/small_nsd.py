"""A miniature of NSD's bucket in the real layout, and what tests of downloads share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bucket_server import BucketServer

from mindeye.datasets.nsd.fetch import FetchSummary, fetch_nsd
from mindeye.datasets.nsd.fetch_list import FetchConfig
from mindeye.weights.download import BLOCK

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm"
FOLDER = f"{BETAS}/betas_fithrf_GLMdenoise_RR"
SESSION = f"{FOLDER}/betas_session02.hdf5"
ROIS = "nsddata/ppdata/subj01/func1pt8mm/roi"
PICTURES = "nsddata_stimuli/stimuli"
SIZE = 5 * BLOCK + 123


def random_bytes(seed: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def small_nsd() -> dict[str, bytes]:
    """Two sessions of subj01 in the real layout; most of the optional files are missing."""
    keys = [
        "nsddata/experiments/nsd/nsd_expdesign.mat",
        f"{ROIS}/nsdgeneral.nii.gz",
        f"{ROIS}/streams.nii.gz",
        f"{PICTURES}/nsd/nsd_stimuli.hdf5",
    ]
    files = {key: random_bytes(number, 700 + number) for number, key in enumerate(keys)}
    files |= {f"{FOLDER}/betas_session0{n}.hdf5": random_bytes(90 + n) for n in (1, 2)}
    return files


def quick_fetch(config: FetchConfig, lines: list[str] | None = None) -> FetchSummary:
    """Fetch without pauses between tries."""
    tell = (lambda line: None) if lines is None else lines.append
    return fetch_nsd(config, tell=tell, wait=lambda seconds: None)


def assert_complete(server: BucketServer, root: Path) -> None:
    """Every file of the bucket is there, byte for byte, and nothing else."""
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert found == server.files
