"""NSD-synthetic: 284 synthetic pictures, seen by the eight subjects of NSD in one session.

Known from the NSD Data Manual ("Functional data (nsdsynthetic)"), Gifford et al. (2025) and their
code (github.com/gifale95/NSD-synthetic); nothing was checked against the real files here:

- 8 runs of 93 trials, 744 betas; fixation runs and one-back runs alternate; the order of the
  trials is the same for all subjects. 10 trials of a run show the picture of the trial before.
- `nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat`: `masterordering` (1, 744), the
  picture of every trial, from 1 to 284.
- Pictures 1 to 220 are rows of `imgBrick` of `nsdsynthetic_stimuli.hdf5`; 221 to 284, chromatic
  noise made for each subject's own isoluminance, are those of
  `nsdsynthetic_colorstimuli_subjAA.hdf5`; both (pictures, 714, 1360, 3) uint8 in h5py, below
  `nsddata_stimuli/stimuli/nsdsynthetic`.
- `nsddata/experiments/nsdsynthetic/nsdsyntheticimageinformation.csv`: row k is picture k, columns
  `Image`, `Image subclass`, `Image class`. Read where it is there.

Not established: which task comes first. The manual names fixation first; `first_task` turns it
round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.trials import complete_trials
from mindeye.datasets.nsd.betas import HDF5_ERRORS
from mindeye.datasets.nsd.layout import NsdPaths
from mindeye.datasets.nsd.reader import PICTURES, damaged_pictures, inspect_pictures
from mindeye.datasets.nsd.single_session import (
    SATURATION,
    SESSION,
    SingleSessionConfig,
    need_file,
    open_session,
    read_mat,
)
from mindeye.datasets.recording import Recording
from mindeye.errors import ConfigError, DataError

SyntheticBetas = Literal[
    "nsdsyntheticbetas_fithrf_GLMdenoise_RR", "nsdsyntheticbetas_fithrf",
    "nsdsyntheticbetas_assumehrf",
]  # fmt: skip
Task = Literal["all", "fixation", "one-back"]
Field = Literal["nsd", "screen"]
Values = Literal["nsd", "stored"]

RUNS = 8
COLUMNS = {"Image": "image", "Image subclass": "subclass", "Image class": "class"}


@dataclass(frozen=True)
class SyntheticConfig(SingleSessionConfig):
    """What to read of NSD-synthetic, beside the fields of `SingleSessionConfig`.

    Parameters
    ----------
    betas
        Version of the betas: take the one that the decoder was trained on.
    task
        Trials of `all` runs, of the `fixation` runs or of the `one-back` runs.
    first_task
        Task of the first run, from which they alternate: `fixation` or `one-back`.
    field
        `nsd` is the central square of the picture, 8.4 degrees, which is where NSD's pictures were
        shown and what Gifford et al. model; words beyond it leave it blank. `screen` is all of it.
    values
        `nsd` takes the square root of the stored luminance, as Gifford et al. do, so that pictures
        look as those of NSD; `stored` leaves the numbers as they are.
    """

    betas: SyntheticBetas = "nsdsyntheticbetas_fithrf_GLMdenoise_RR"
    task: Task = "all"
    first_task: Literal["fixation", "one-back"] = "fixation"
    field: Field = "nsd"
    values: Values = "nsd"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("betas", get_args(SyntheticBetas)),
            ("task", get_args(Task)),
            ("first_task", get_args(Task)[1:]),
            ("field", get_args(Field)),
            ("values", get_args(Values)),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)!r}: choose one of {known}")


@dataclass(frozen=True)
class Brick:
    """A file of pictures, its header checked.

    Parameters
    ----------
    path
        HDF5 with `imgBrick`.
    shape
        (pictures, H, W, 3), or without colour (pictures, H, W) or (pictures, H, W, 1).
    """

    path: Path
    shape: tuple[int, ...]


def read_synthetic(root: Path, config: SyntheticConfig) -> Recording:
    """Read one subject's session of NSD-synthetic.

    Parameters
    ----------
    root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    config
        Subject, betas, voxels, task, pictures.

    Returns
    -------
    Recording
        One session, numbered 1. `trial` is the row of the file of betas, from 0; `run` from 0;
        `task`; `one_back` is true where the trial before in the run showed the same picture.
        `stimulus_id` is ``synthetic_NNN``, NNN the picture from 0; the pictures of one subject
        alone end in ``_subjAA``, so that subjects never share an id for different pictures.

    Raises
    ------
    DataError
        If a file is missing, unreadable, or does not fit the others.
    """
    paths = NsdPaths(Path(root), config.subject, config.betas)
    session = open_session(paths, "betas_nsdsynthetic", config)
    design = paths.root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
    folder = paths.root / "nsddata_stimuli/stimuli/nsdsynthetic"
    own = f"subj{config.subject:02d}"
    bricks = (
        _inspect_brick(folder / "nsdsynthetic_stimuli.hdf5"),
        _inspect_brick(folder / f"nsdsynthetic_colorstimuli_{own}.hdf5"),
    )
    order = read_order(design, bricks, trials=session.file.trials)
    stimuli = _stimulus_table(bricks, own, design.with_name("nsdsyntheticimageinformation.csv"))
    trials = _trial_table(order, stimuli, config)
    rows = trials["trial"].to_numpy(dtype=np.int64)
    number = {s: i for i, s in enumerate(stimuli["stimulus_id"])}
    shown = stimuli[stimuli["stimulus_id"].isin(trials["stimulus_id"])].reset_index(drop=True)

    def session_betas(_: int) -> NDArray[np.float32]:
        return session.read(rows)

    def pictures(wanted: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        return read_bricks(bricks, [number.get(s, -1) for s in wanted], config)

    table = design.with_name("nsdsyntheticimageinformation.csv")
    tables = [table] if table.is_file() else []
    return Recording(
        subject=own,
        trials=trials,
        stimuli=shown,
        voxels=session.voxels,
        read_betas=session_betas,
        read_pictures=pictures,
        inputs=(*session.inputs, design, *(b.path for b in bricks), *tables),
        info={
            "source": "NSD-synthetic (Gifford et al. 2025)",
            **session.info(paths, config),
            **{n: getattr(config, n) for n in ("task", "first_task", "field", "values")},
            "one_back_trials": int(trials["one_back"].sum()),
        },
        saturation=SATURATION,
    )


def read_order(path: Path, bricks: Sequence[Brick], *, trials: int) -> NDArray[np.int64]:
    """Return the picture of every trial (T,), from 0, those of the second brick last.

    Raises
    ------
    DataError
        If the file is malformed, or is not of as many trials and pictures as the others.
    """
    master = read_mat(
        path, "trial order (nsdsynthetic_expdesign.mat)", "masterordering", numbers=True
    )
    if master.dtype.kind not in "iuf" or not master.size or master.size != max(master.shape):
        raise DataError(
            f"masterordering of {path} holds {master.dtype} of shape {master.shape}, not one "
            "number a trial"
        )
    if not np.isfinite(master).all() or (master % 1 != 0).any() or (master < 1).any():
        raise DataError(f"masterordering of {path} must hold whole numbers that count from 1")
    if master.size != trials or trials % RUNS:
        raise DataError(
            f"masterordering of {path} has {master.size} trials, the betas {trials}; they must be "
            f"equally many, in {RUNS} runs of one length"
        )
    pictures = sum(b.shape[0] for b in bricks)
    if not np.array_equal(np.unique(master), np.arange(1, pictures + 1)):
        counts = " + ".join(f"{b.shape[0]} ({b.path.name})" for b in bricks)
        raise DataError(
            f"masterordering of {path} shows {len(np.unique(master))} pictures up to number "
            f"{master.max():g}, but there are {counts}, all of which were shown; a file is of "
            "another data set"
        )
    return master.ravel().astype(np.int64) - 1


def _trial_table(
    order: NDArray[np.int64], stimuli: pd.DataFrame, config: SyntheticConfig
) -> pd.DataFrame:
    length = len(order) // RUNS
    run = np.arange(len(order)) // length
    first, second = "fixation", "one-back"
    if config.first_task == second:
        first, second = second, first
    before = np.r_[False, (order[1:] == order[:-1]) & (run[1:] == run[:-1])]
    table = pd.DataFrame(
        {
            "session": SESSION,
            "run": run,
            "trial": np.arange(len(order)),
            "stimulus_id": stimuli["stimulus_id"].to_numpy()[order],
            "task": np.where(run % 2 == 0, first, second),
            "one_back": before,
        }
    )
    if config.task != "all":
        table = table[table["task"] == config.task]
    return complete_trials(table)


def _stimulus_table(bricks: tuple[Brick, Brick], own: str, path: Path) -> pd.DataFrame:
    """Return a row a picture, in the order of the experiment's numbers."""
    shared, total = bricks[0].shape[0], bricks[0].shape[0] + bricks[1].shape[0]
    table = pd.DataFrame(
        {
            "stimulus_id": [
                f"synthetic_{i:03d}" + ("" if i < shared else f"_{own}") for i in range(total)
            ],
            "shared": np.arange(total) < shared,
        }
    )
    if not path.is_file():
        return table
    try:
        names = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    missing = [c for c in COLUMNS if c not in names]
    if missing or len(names) != total:
        raise DataError(
            f"{path} has {len(names)} rows and lacks the columns {missing}; it should have a row "
            f"for each of {total} pictures"
        )
    number = names.get("Image number")
    if number is not None and list(number) != list(range(1, total + 1)):
        raise DataError(f"Image number of {path} must count from 1 to {total}, in order")
    return table.assign(**{new: names[old].astype(str) for old, new in COLUMNS.items()})


def _inspect_brick(path: Path) -> Brick:
    need_file(path, "pictures")
    dtype, shape = inspect_pictures(path)
    coloured = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not coloured or 0 in shape:
        raise DataError(
            f"{PICTURES} of {path} holds {dtype} of shape {shape}; pictures are uint8 (pictures, "
            "height, width, 3)"
        )
    return Brick(path, tuple(int(n) for n in shape))


def as_displayed(values: Values) -> NDArray[np.uint8]:
    """Return what each stored value 0..255 becomes: (256,) uint8.

    `nsd`: floor(255 sqrt(v / 255)), as the published code of Gifford et al. (2025) does before it
    gives pictures to a vision model; it leaves the reason out. Ours: the display was linear, while
    NSD's pictures were shown through a gamma of 2, so the root gives the picture that would have
    looked the same in NSD.
    """
    stored = np.arange(256)
    if values == "stored":
        return stored.astype(np.uint8)
    root: NDArray[Any] = np.sqrt(stored / 255) * 255
    return root.astype(np.uint8)


def read_bricks(
    bricks: Sequence[Brick], numbers: Sequence[int], config: SyntheticConfig
) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures (H, W, 3), 0..255, by their number from 0 over all bricks.

    Parameters
    ----------
    bricks
        Files in order; the second goes on counting where the first ends.
    numbers
        Pictures; quickest in increasing order.
    config
        Part of the picture and values.

    Raises
    ------
    DataError
        If there is no such picture, or a file is cut off or damaged.
    """
    values = as_displayed(config.values)
    for number in numbers:
        row, place = number, 0
        while place < len(bricks) and row >= bricks[place].shape[0]:
            row, place = row - bricks[place].shape[0], place + 1
        if row < 0 or place == len(bricks):
            raise DataError(f"NSD-synthetic has no such picture (number {number})")
        brick = bricks[place]
        try:
            with h5py.File(brick.path, "r") as file:
                picture = np.asarray(file[PICTURES][row])
        except (*HDF5_ERRORS, IndexError) as error:
            raise damaged_pictures(brick.path, error) from error
        picture = picture.reshape(*picture.shape[:2], -1)
        picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
        yield values[_central(picture) if config.field == "nsd" else picture]


def _central(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the central square; of an odd remainder the larger part is cut below and right."""
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    return picture[top : top + side, left : left + side]
