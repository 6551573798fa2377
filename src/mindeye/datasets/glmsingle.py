"""A subject of a BIDS data set whose single-trial betas GLMsingle estimated.

GLMsingle returns one beta for every onset in its design, "in chronological order"
(`glmsingle/glmsingle.py`, docstring of `fit`), over all runs it was given; which stimulus each was,
only the events know. Whether the two belong together is checked by the number of trials and, where
GLMsingle's DESIGNINFO lies beside the betas, run by run and by which trials repeat one another.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.trials import complete_trials
from mindeye.datasets.bids_events import LABEL, EventsConfig, find_events, read_events
from mindeye.datasets.file_formats import read_volume, whole_labels
from mindeye.datasets.glmsingle_files import SUFFIXES, BetasFile, read_field
from mindeye.datasets.picture_folder import find_pictures
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError


@dataclass(frozen=True)
class GlmsingleConfig:
    """Where betas, events and pictures of one subject are.

    Parameters
    ----------
    bids_root
        The BIDS data set with the events.
    subject
        Label of the subject, without "sub-".
    betas
        A file that GLMsingle wrote; or a folder with one, or with one below every ses-<label>/.
    events
        Which events are trials.
    mask
        NIfTI whose voxels above 0 are read; needed for betas on a grid.
    stimuli
        Folder of pictures, `stimuli` of the data set if not given.
    model
        Name of the output, without suffix.
    licence
        Terms the data may be used under, in words.
    """

    bids_root: Path
    subject: str
    betas: Path
    events: EventsConfig = field(default_factory=EventsConfig)
    mask: Path | None = None
    stimuli: Path | None = None
    model: str = "TYPED_FITHRF_GLMDENOISE_RR"
    licence: str = "as stated by the data set; not known to this software"


@dataclass(frozen=True)
class _Part:
    """A file of betas and the trials of the table it holds, from `first` on.

    `asked` and `chosen` (grid) are the voxels asked for, and those of them whose first beta is
    finite.
    """

    file: BetasFile
    first: int
    asked: NDArray[np.bool_]
    chosen: NDArray[np.bool_]

    @property
    def stop(self) -> int:
        return self.first + self.file.trials


def read_glmsingle(config: GlmsingleConfig) -> Recording:
    """Read a subject of a BIDS data set with GLMsingle's betas.

    Voxels whose first beta is not finite in one of the files, which is what GLMsingle gives where
    the mean signal is 0, are left out and counted in `info`. Column `glm_r2` of the voxels is the
    percentage of variance the GLM explains (mean over files): no noise ceiling.

    Parameters
    ----------
    config
        Paths of betas, events and pictures of the subject.

    Raises
    ------
    DataError
        If something is missing, malformed, ambiguous, or does not fit together.
    """
    events = find_events(config.bids_root, config.subject, config.events)
    trials = complete_trials(read_events(events, config.events))
    mask = None if config.mask is None else read_mask(config.mask)
    files = [(BetasFile(p), label) for p, label in _find_outputs(config)]
    parts = [_part(file, label, trials, mask) for file, label in files]
    _check_complete(parts, trials)
    designs = [_check_design(part, trials) for part in parts]
    if any(part.file.grid != parts[0].file.grid for part in parts):
        raise DataError(f"files of {config.subject} have other voxels than {parts[0].file.path}")
    chosen = np.logical_and.reduce([part.chosen for part in parts])
    left_out = np.logical_or.reduce([part.asked & ~part.chosen for part in parts])
    ids = list(dict.fromkeys(trials["stimulus_id"]))
    pictures = _find_pictures(config, trials, ids)

    def read_betas(session: int) -> NDArray[np.float32]:
        rows = np.flatnonzero((trials["session"] == session).to_numpy())
        part = next(p for p in parts if p.first <= rows[0] < p.stop)
        start = int(rows[0]) - part.first
        return part.file.read(chosen, slice(start, start + len(rows)))

    masks = () if config.mask is None else (config.mask,)
    return Recording(
        subject=f"sub-{config.subject}",
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=_voxel_table(parts, chosen, mask),
        read_betas=read_betas,
        read_pictures=lambda wanted: (read_picture(pictures[s]) for s in wanted),
        inputs=(*(p.file.path for p in parts), *(e.path for e in events), *masks),
        info={
            "source": f"BIDS and GLMsingle ({config.model})",
            "licence": config.licence,
            "simulated": False,
            "space": "grid of the mask" if mask is not None else "as GLMsingle was given",
            "units": "percent signal change",
            "voxels_not_finite": int(left_out.sum()),
            "trial_order": "; ".join(sorted(set(designs))),
        },
    )


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask (X, Y, Z): true where the image is above 0.

    Raises
    ------
    DataError
        If it is unreadable, not three-dimensional, or empty.
    """
    mask = whole_labels(read_volume(path, "mask")) > 0
    if not mask.any():
        raise DataError(f"{path} has no voxel above 0; a mask has some")
    return mask


def _find_outputs(config: GlmsingleConfig) -> list[tuple[Path, str]]:
    """Find files and the sessions they are of; "" for all sessions."""
    if not config.betas.is_dir():
        return [(config.betas, "")]
    folder = config.betas
    if (folder / f"sub-{config.subject}").is_dir():
        folder = folder / f"sub-{config.subject}"
    here = _output_in([folder / f"{config.model}{s}" for s in SUFFIXES])
    if here is not None:
        return [(here, "")]
    outputs = []
    for below in sorted(folder.glob("ses-*")):
        label = below.name.removeprefix("ses-")
        if not re.fullmatch(LABEL, label):
            continue
        if config.events.bids_sessions and label not in config.events.bids_sessions:
            continue
        path = _output_in([p for s in SUFFIXES for p in below.rglob(f"{config.model}{s}")])
        if path is not None:
            outputs.append((path, label))
    if not outputs:
        raise DataError(f"no {config.model} with suffix {SUFFIXES} in {folder} or its ses-*/")
    return outputs


def _output_in(paths: list[Path]) -> Path | None:
    """Return the one output there is; a pickle counts only where nothing else is there."""
    there = [p for p in paths if p.is_file() and p.suffix != ".npy"]
    if len(there) > 1:
        raise DataError(f"{there[0]} and {there[1]} both are betas; name the file, or keep one")
    return next((p for p in [*there, *paths] if p.is_file()), None)


def _part(
    file: BetasFile, label: str, trials: pd.DataFrame, mask: NDArray[np.bool_] | None
) -> _Part:
    rows = np.arange(len(trials))
    if label:
        rows = np.flatnonzero((trials["session_label"] == label).to_numpy())
        if not rows.size:
            raise DataError(f"{file.path} is of session {label!r}, which has no events")
    _check_fits(file, len(rows), mask)
    on_grid = mask is not None and file.grid == mask.shape
    asked = mask if mask is not None and on_grid else np.ones(file.grid, dtype=np.bool_)
    chosen = asked.copy()
    chosen[asked] = np.isfinite(file.read(asked, slice(0, 1))[0])
    return _Part(file, int(rows[0]), asked, chosen)


def _check_fits(file: BetasFile, trials: int, mask: NDArray[np.bool_] | None) -> None:
    """Check that a file has as many trials as the events, and voxels on a line or on the mask."""
    where = f"betas in {file.path} are {file.trials} trials on a grid of {file.grid}"
    if file.trials != trials:
        raise DataError(
            f"{where}, the events list {trials} trials; they must be one trial a stimulus (check "
            "task, sessions, the stimulus column and the ids to ignore)"
        )
    flat = sum(size > 1 for size in file.grid) <= 1
    if mask is None and not flat:
        raise DataError(f"{where}; betas on a grid need a mask (a NIfTI of the same grid)")
    if mask is None or file.grid == mask.shape:
        return
    if not flat or math.prod(file.grid) != int(mask.sum()):
        raise DataError(
            f"{where} and the mask has the grid {mask.shape} with {int(mask.sum())} voxels"
        )


def _check_complete(parts: list[_Part], trials: pd.DataFrame) -> None:
    held = np.zeros(len(trials), dtype=np.int64)
    for part in parts:
        held[part.first : part.stop] += 1
    absent = np.flatnonzero(held != 1)
    if absent.size:
        label = trials["session_label"].iloc[absent[0]]
        raise DataError(f"session {label!r} has events but no betas; choose the sessions to read")


def _check_design(part: _Part, trials: pd.DataFrame) -> str:
    """Compare the events with GLMsingle's own account of its design; say what came of it."""
    beside = [part.file.path.with_name(f"DESIGNINFO{s}") for s in SUFFIXES]
    path = next((p for p in beside if p.is_file()), None)
    if path is None:
        return "not checked, no DESIGNINFO beside the betas"
    if path.suffix == ".npy":
        return "not checked, DESIGNINFO.npy is a pickle"
    try:
        order, runs = (np.ravel(read_field(path, name)) for name in ("stimorder", "numtrialrun"))
    except DataError as error:
        return f"not checked, {error}"
    mine = trials.iloc[part.first : part.stop]
    counts = mine.groupby(["session", "run"], sort=True).size().to_numpy()
    if runs.size:
        theirs = runs[runs > 0]
        if not np.array_equal(theirs, counts):
            raise DataError(
                f"{path} has {theirs.astype(int).tolist()} trials in its runs, the events have "
                f"{counts.tolist()}; check task, sessions and the ids to ignore"
            )
    if order.size != len(mine):
        return "not checked, DESIGNINFO does not list the conditions of all trials"
    _check_repeats(order, mine["stimulus_id"], path)
    return "checked against DESIGNINFO"


def _check_repeats(conditions: NDArray[Any], stimuli: pd.Series, path: Path) -> None:
    """Conditions may be coarser or finer than stimuli, but not across them."""
    pairs = pd.DataFrame({"condition": conditions, "stimulus": stimuli.to_numpy()})
    count = len(pairs.drop_duplicates())
    if count > max(pairs["condition"].nunique(), pairs["stimulus"].nunique()):
        raise DataError(
            f"{path} groups the trials into other conditions than the events do into stimuli; the "
            "betas are of other events, or in another order"
        )


def _voxel_table(
    parts: list[_Part], chosen: NDArray[np.bool_], mask: NDArray[np.bool_] | None
) -> pd.DataFrame:
    table = pd.DataFrame({"voxel": np.arange(int(chosen.sum()))})
    if mask is not None:
        places = _places(mask, parts[0].file)[chosen.ravel()]
        table[["x", "y", "z"]] = places
    explained = [values[chosen] for p in parts if (values := p.file.explained()) is not None]
    if explained:
        table["glm_r2"] = np.mean(explained, axis=0).astype(np.float32)
    return table


def _places(mask: NDArray[np.bool_], file: BetasFile) -> NDArray[np.int64]:
    """Return grid coordinates (grid size, 3) of the voxels in the file.

    Betas that were flattened by a mask are in C order in Python (`data[mask]`) and in column-major
    order in MATLAB (`data(mask)`), whose files are read backwards.
    """
    if file.grid == mask.shape:
        return np.argwhere(np.ones_like(mask))
    return np.argwhere(mask.T)[:, ::-1] if file.backwards else np.argwhere(mask)


def _find_pictures(
    config: GlmsingleConfig, trials: pd.DataFrame, ids: list[str]
) -> dict[str, Path]:
    named: dict[str, str] = {}
    if "stim_file" in trials.columns:
        pairs = trials[["stimulus_id", "stim_file"]].drop_duplicates()
        twice = pairs["stimulus_id"][pairs["stimulus_id"].duplicated()]
        if len(twice):
            files = pairs.loc[pairs["stimulus_id"] == twice.iloc[0], "stim_file"].tolist()
            raise DataError(f"the events name two stimuli {twice.iloc[0]!r}: {files}; rename one")
        named = dict(zip(pairs["stimulus_id"], pairs["stim_file"], strict=True))
    return find_pictures(config.stimuli or config.bids_root / "stimuli", ids, named=named)
