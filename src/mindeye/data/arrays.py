"""Anyone's data: betas as .npy, pictures as a folder or .npy, trials as CSV."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mindeye.data.preprocess import ZScore, check_finite, constant_voxels, fit_scaler, noise_ceiling
from mindeye.data.splits import splits_from_trials
from mindeye.data.subject import Subject, write_subject
from mindeye.data.trials import complete_trials, read_trials, trials_by_stimulus
from mindeye.errors import DataError
from mindeye.progress import track

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ArraysConfig:
    """How arrays become a prepared subject.

    Parameters
    ----------
    zscore
        ``train`` scales each voxel by its training trials, ``session`` does so within sessions,
        ``none`` leaves the betas as they are.
    drop_constant_voxels
        Leave out voxels that never change instead of stopping.
    test_share
        Share of stimuli held out as test if the trial table has no column split.
    val_share
        Share of training stimuli held out as val if the table names none.
    size
        Side that pictures are resized to (bicubic, antialiased), 0 for as they are.
    seed
        Seed of the drawn splits.
    subject
        Name of the subject.
    source
        Where the data are from, in words.
    licence
        Terms the data may be used under, in words.
    """

    zscore: ZScore = "train"
    drop_constant_voxels: bool = False
    test_share: float = 0.1
    val_share: float = 0.1
    size: int = 0
    seed: int = 0
    subject: str = "subj01"
    source: str = "arrays"
    licence: str = "not stated"


def _read_betas(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"no betas at {path}; give an .npy file of shape (trials, voxels)")
    try:
        betas = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} is not a plain numeric .npy file: {error}") from error
    if betas.ndim != 2 or not np.issubdtype(betas.dtype, np.number) or betas.size == 0:
        raise DataError(
            f"{path} has shape {betas.shape} and type {betas.dtype}; betas are numbers of shape "
            "(trials, voxels)"
        )
    return np.asarray(betas, dtype=np.float32)


def _read_voxels(path: Path | None, voxels: int) -> pd.DataFrame:
    table = pd.DataFrame({"voxel": np.arange(voxels)})
    if path is None:
        return table
    try:
        known = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    if len(known) != voxels:
        raise DataError(f"{path} has {len(known)} rows for {voxels} voxels; one row a voxel")
    return pd.concat([table, known.drop(columns="voxel", errors="ignore")], axis=1)


def _to_rgb(pictures: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or len(pictures) == 0:
        raise DataError(
            f"{path} has shape {pictures.shape} and type {pictures.dtype}; pictures are uint8 of "
            "shape (stimuli, height, width) or (stimuli, height, width, 3)"
        )
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=-1)
    if pictures.shape[-1] != 3:
        raise DataError(f"{path} has {pictures.shape[-1]} channels; give grey or RGB pictures")
    return np.asarray(pictures)


def _open_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable image: {error}") from error


def _read_folder(folder: Path, wanted: list[str], size: int) -> NDArray[np.uint8]:
    files = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}
    missing = [s for s in wanted if s not in files]
    if missing:
        raise DataError(
            f"no image for stimulus {missing[0]!r} in {folder} ({len(missing)} missing); files "
            f"are named by stimulus_id, like {missing[0]}.png"
        )
    pictures: list[NDArray[np.uint8]] = []
    for stimulus_id in track(wanted, "images"):
        picture = _open_picture(files[stimulus_id])
        if size:
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(picture))
        if pictures[-1].shape != pictures[0].shape:
            raise DataError(
                f"{files[stimulus_id]} is {picture.width} x {picture.height}, the first image is "
                f"{pictures[0].shape[1]} x {pictures[0].shape[0]}; give --size to bring all to one"
            )
    return np.stack(pictures)


def _read_npy_pictures(path: Path, wanted: list[str], size: int) -> NDArray[np.uint8]:
    try:
        pictures = _to_rgb(np.load(path, mmap_mode="r", allow_pickle=False), path)
    except ValueError as error:
        raise DataError(f"{path} is not a plain .npy file: {error}") from error
    bad = [s for s in wanted if not re.fullmatch(r"\d+", s) or int(s) >= len(pictures)]
    if bad:
        raise DataError(
            f"no image for stimulus {bad[0]!r}: with an .npy of {len(pictures)} images, "
            f"stimulus_id is the row, 0 to {len(pictures) - 1}"
        )
    chosen = np.asarray(pictures[[int(s) for s in wanted]])
    if size and chosen.shape[1:3] != (size, size):
        resized = [
            Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in chosen
        ]
        chosen = np.stack([np.asarray(p) for p in resized])
    return chosen


def read_pictures(path: Path, wanted: list[str], *, size: int = 0) -> NDArray[np.uint8]:
    """Read the pictures of the wanted stimuli from a folder or an .npy file.

    Parameters
    ----------
    path
        Folder of images named by stimulus_id, or an .npy uint8 (S, H, W[, 3]) whose rows are the
        stimulus ids.
    wanted
        Stimulus ids, in the order to return.
    size
        Side to resize to, 0 for none.

    Returns
    -------
    array
        (len(wanted), H, W, 3), 0..255.

    Raises
    ------
    DataError
        If a picture is missing, unreadable or of another size than the rest.
    """
    if path.is_dir():
        return _read_folder(path, wanted, size)
    if path.is_file() and path.suffix == ".npy":
        return _read_npy_pictures(path, wanted, size)
    raise DataError(f"no pictures at {path}; give a folder of images or an .npy file")


def prepare_arrays(
    betas_path: Path,
    stimuli_path: Path,
    trials_path: Path,
    out: Path,
    config: ArraysConfig,
    *,
    voxels_path: Path | None = None,
) -> Subject:
    """Turn arrays on disk into a prepared subject.

    Parameters
    ----------
    betas_path
        `.npy` (N, V).
    stimuli_path
        Folder of images named by stimulus_id, or `.npy` uint8 (S, H, W[, 3]).
    trials_path
        CSV, one row a trial.
    out
        Folder to write.
    config
        Scaling, splits, names.
    voxels_path
        CSV, one row a voxel: x, y, z, roi ... whatever is known.

    Raises
    ------
    DataError
        If anything is missing, malformed, not finite, or does not fit together.
    LeakageError
        If a stimulus is in two splits.
    """
    betas = _read_betas(betas_path)
    trials = complete_trials(read_trials(trials_path))
    if len(trials) != len(betas):
        raise DataError(
            f"{betas_path} has {len(betas)} trials but {trials_path} has {len(trials)} rows; "
            "they must match one to one"
        )
    check_finite(betas)
    betas_shape = betas.shape
    kept = np.arange(betas.shape[1])
    constant = constant_voxels(betas)
    if len(constant):
        if not config.drop_constant_voxels:
            raise DataError(
                f"voxel {constant[0]} of {betas_path} never changes ({len(constant)} such "
                "voxels); use --drop-constant-voxels to leave them out"
            )
        kept = np.setdiff1d(kept, constant)
        betas = betas[:, kept]
    rng = np.random.default_rng(config.seed)
    splits = splits_from_trials(
        trials, test_share=config.test_share, val_share=config.val_share, rng=rng
    )
    ids = sorted(set(trials["stimulus_id"]))
    pictures = read_pictures(stimuli_path, ids, size=config.size)
    sessions = trials["session"].to_numpy()
    training = trials["stimulus_id"].isin(splits["train"]).to_numpy()
    scaler = fit_scaler(betas, sessions, training, zscore=config.zscore)
    if scaler is not None:
        betas = scaler.apply(betas, sessions)
    split_of = {s: name for name, members in splits.items() for s in members}
    voxels = _read_voxels(voxels_path, betas_shape[1]).iloc[kept].reset_index(drop=True)
    ceiling = noise_ceiling(betas, list(trials_by_stimulus(trials).values()))
    if ceiling is not None and "noise_ceiling" not in voxels:
        voxels["noise_ceiling"] = ceiling
    return write_subject(
        out,
        betas=betas,
        trials=trials.drop(columns="split", errors="ignore"),
        pictures=pictures,
        stimuli=pd.DataFrame({"stimulus_id": ids, "split": [split_of[s] for s in ids]}),
        voxels=voxels,
        info={
            "subject": config.subject,
            "source": config.source,
            "simulated": False,
            "licence": config.licence,
            "space": "as given",
            "units": "as given" if scaler is None else f"z-scored ({config.zscore})",
            "constant_voxels_dropped": len(constant) if config.drop_constant_voxels else 0,
        },
    )
