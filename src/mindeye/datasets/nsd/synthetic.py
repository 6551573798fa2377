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

Not established: which task comes first. The manual names fixation first; `first_task` turns it
round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.trials import complete_trials
from mindeye.datasets.file_formats import load_mat
from mindeye.datasets.nsd.design import whole_numbers
from mindeye.datasets.nsd.layout import require_file
from mindeye.datasets.nsd.pictures import count_pictures, read_pictures
from mindeye.datasets.nsd.single_session import SESSION, SingleSessionConfig, open_session
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError

SyntheticBetas = Literal[
    "nsdsyntheticbetas_fithrf_GLMdenoise_RR", "nsdsyntheticbetas_fithrf",
    "nsdsyntheticbetas_assumehrf",
]  # fmt: skip
Values = Literal["nsd", "stored"]

RUNS = 8


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
    task: Literal["all", "fixation", "one-back"] = "all"
    first_task: Literal["fixation", "one-back"] = "fixation"
    field: Literal["nsd", "screen"] = "nsd"
    values: Values = "nsd"


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
    session = open_session(root, config.betas, "betas_nsdsynthetic", config)
    root, own = session.paths.root, f"subj{config.subject:02d}"
    folder = root / "nsddata_stimuli/stimuli/nsdsynthetic"
    files = (
        folder / "nsdsynthetic_stimuli.hdf5",
        folder / f"nsdsynthetic_colorstimuli_{own}.hdf5",
    )
    counts = [count_pictures(path) for path in files]
    design = root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
    order = read_order(design, counts, trials=session.file.trials)
    stimuli = _stimulus_table(counts, own)
    trials = _trial_table(order, stimuli, config)
    place = {s: _place(i, counts[0]) for i, s in enumerate(stimuli["stimulus_id"])}

    def pictures(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        values = as_displayed(config.values)
        for stimulus_id in stimulus_ids:
            if stimulus_id not in place:
                raise DataError(f"NSD-synthetic has no picture {stimulus_id!r} of {own}")
            file, row = place[stimulus_id]
            picture = next(read_pictures(files[file], [row]))
            yield values[_central(picture) if config.field == "nsd" else picture]

    return session.recording(
        source="NSD-synthetic (Gifford et al. 2025)",
        trials=trials,
        stimuli=stimuli,
        read_pictures=pictures,
        inputs=(design, *files),
        info={
            **{n: getattr(config, n) for n in ("task", "first_task", "field", "values")},
            "one_back_trials": int(trials["one_back"].sum()),
        },
    )


def _place(number: int, shared: int) -> tuple[int, int]:
    """Return the file (0 shared, 1 the subject's own) and the row in it of a picture, from 0."""
    return (0, number) if number < shared else (1, number - shared)


def read_order(path: Path, counts: Sequence[int], *, trials: int) -> NDArray[np.int64]:
    """Return the picture of every trial (T,), from 0, those of the second file last.

    Raises
    ------
    DataError
        If the file is malformed, or is not of as many trials and pictures as the others.
    """
    key = "masterordering"
    require_file(path, "trial order (nsdsynthetic_expdesign.mat)")
    order = whole_numbers(load_mat(path, [key])[key], key, path)
    if max(order.shape) != order.size or order.size != trials or trials % RUNS:
        raise DataError(
            f"masterordering of {path} has shape {order.shape}, the betas have {trials} trials; "
            f"they must be equally many, in {RUNS} runs of one length"
        )
    if not np.array_equal(np.unique(order), np.arange(1, sum(counts) + 1)):
        raise DataError(
            f"masterordering of {path} shows {len(np.unique(order))} pictures up to number "
            f"{order.max()}, but there are {' + '.join(map(str, counts))}, all of which were "
            "shown; a file is of another data set"
        )
    return order.ravel() - 1


def _trial_table(
    order: NDArray[np.int64], stimuli: pd.DataFrame, config: SyntheticConfig
) -> pd.DataFrame:
    run = np.arange(len(order)) // (len(order) // RUNS)
    first, second = "fixation", "one-back"
    if config.first_task == second:
        first, second = second, first
    table = pd.DataFrame(
        {
            "session": SESSION,
            "run": run,
            "trial": np.arange(len(order)),
            "stimulus_id": stimuli["stimulus_id"].to_numpy()[order],
            "task": np.where(run % 2 == 0, first, second),
            "one_back": np.r_[False, (order[1:] == order[:-1]) & (run[1:] == run[:-1])],
        }
    )
    if config.task != "all":
        table = table[table["task"] == config.task]
    return complete_trials(table)


def _stimulus_table(counts: Sequence[int], own: str) -> pd.DataFrame:
    """Return a row a picture, in the order of the experiment's numbers."""
    ids = [f"synthetic_{i:03d}" + ("" if i < counts[0] else f"_{own}") for i in range(sum(counts))]
    return pd.DataFrame({"stimulus_id": ids, "shared": np.arange(sum(counts)) < counts[0]})


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


def _central(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the central square; of an odd remainder the larger part is cut below and right."""
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    return picture[top : top + side, left : left + side]
