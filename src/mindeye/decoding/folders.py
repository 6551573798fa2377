"""The folder that a fitted estimator is saved in.

::

    FOLDER/decoder.json     class, hyper-parameters, versions; written last
        scaler/             z-scoring of the training trials, where the betas were scaled
        images.npy          a few training images
        ...                 what the estimator itself learnt
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.data.preprocess import Scaler
from mindeye.errors import CheckpointError, DataError
from mindeye.files import open_array, read_json, versions, write_array, write_json

MANIFEST = "decoder.json"
SCALER = ("groups", "mean", "deviation")
ADVICE = "save the decoder again"


@dataclass(frozen=True)
class Fitted:
    """What a fitted decoder keeps of the subject it was fitted on.

    Parameters
    ----------
    voxels
        Number of voxels, V.
    scaler
        z-scoring fitted on the training trials; None where the betas came scaled.
    images
        A few training images, (N, H, W, 3) uint8; None where there are none.
    """

    voxels: int
    scaler: Scaler | None
    images: NDArray[np.uint8] | None


def claim_folder(folder: str | Path) -> Path:
    """Return a folder to save in: a new or empty one, or one that a decoder was saved in before.

    Raises
    ------
    DataError
        If it holds something else.
    """
    home = Path(folder)
    if home.is_dir() and any(home.iterdir()) and not (home / MANIFEST).is_file():
        raise DataError(f"{home} is not empty and holds no saved decoder; give another folder")
    (home / MANIFEST).unlink(missing_ok=True)  # it comes last and vouches for the rest
    return home


def write_fitted(
    home: Path, name: str, parameters: dict[str, Any], fitted: Fitted, encoder: str
) -> None:
    """Write what every estimator keeps; `encoder` is the fingerprint of its encoder."""
    if fitted.scaler is not None:
        for part in SCALER:
            write_array(home / "scaler" / f"{part}.npy", getattr(fitted.scaler, part))
    if fitted.images is not None:
        write_array(home / "images.npy", fitted.images)
    content = {
        "class": name,
        "parameters": parameters,
        "voxels": fitted.voxels,
        "scaled": fitted.scaler is not None,
        "images": fitted.images is not None,
        "encoder_fingerprint": encoder,
        "versions": versions(),
    }
    write_json(home / MANIFEST, content)


def read_fitted(home: Path, name: str) -> tuple[dict[str, Any], Fitted]:
    """Return hyper-parameters and what was kept of the subject.

    Raises
    ------
    CheckpointError
        If the folder holds no saved decoder, or one of another class.
    """
    if not (home / MANIFEST).is_file():
        raise CheckpointError(
            f"{home} holds no saved decoder ({MANIFEST}) and no run (run.json); see save() and "
            "`mindeye run`"
        )
    content = read_json(home / MANIFEST)
    found = content.get("class")
    if found != name:
        raise CheckpointError(f"{home} holds a {found}; open it with mindeye.{found}.load")
    scaler = None
    if content["scaled"]:
        parts = (np.array(open_array(home / "scaler" / f"{p}.npy", ADVICE)) for p in SCALER)
        scaler = Scaler(*parts)
    images = np.array(open_array(home / "images.npy", ADVICE)) if content["images"] else None
    return dict(content["parameters"]), Fitted(int(content["voxels"]), scaler, images)
