"""MedARC's webdataset shards of NSD, as published for MindEye1, and shards that we export.

Layout, under the folder `webdataset_avg_split` (or `webdataset_avg_new`, which has the last three
sessions as well: issue 51 of the repository)::

    {train,val,test}/{train,val,test}_subj01_{0,1,...}.tar       (MindEye1, Train_MindEye.py)
    metadata_subj01.json   {"totals": {"train": 8559, ...}}      (MindEye1, utils.py)

One sample is one picture, its members are

* `jpg` (or `png`), 425 pixels a side;
* `nsdgeneral.npy` (3, V) float16, a row a presentation; another file of the same kind may have
  its betas under another name;
* `num_uniques.npy` (1,), how many of the rows are presentations: a picture seen once has its row
  three times, one seen twice has the mean of both as third row (MedARC's script for their
  Algonauts shards, which writes the same members; that of MindEye1 was never published);
* `coco73k.npy` (1,), the picture's 73k index from 0: the script uses it as row of `imgBrick`;
* `trial.npy` (1,), the place of the picture's first presentation in the experiment, from 0
  (`np.where(indices == picture)[0][0]` there). The other presentations' places are not stored, so
  that sessions are not known: every trial is put into session 0.

Betas were z-scored by the source within sessions, over all trials: statistics of test trials are
in them. Issue 38 counts 5,970 distinct pictures in an epoch of the training loader; that loader
draws shards with replacement (`resampled=True`), while the shards hold every picture once. Should
a picture be in several samples all the same, its presentations are put together.

None of this could be checked against the published files here.

Shards that `mindeye.datasets.shards_export` writes have a further member `presentations.npy`
(R, 3) int64, session, run and trial of every row, and more facts in the metadata file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.data.tables import read_table
from mindeye.data.trials import complete_trials
from mindeye.datasets.recording import Recording
from mindeye.datasets.tar_index import Sample, find_shards, index_shard
from mindeye.errors import DataError
from mindeye.progress import track

FOLDERS = ("webdataset_avg_split", "webdataset_avg_new")
EXPORT_FORMAT = "mindeye shards 1"
PICTURES_OF_NSD = 73_000
SOURCE = "MedARC's webdataset shards of NSD (MindEye1)"
LICENCE = "NSD terms of use (http://naturalscenesdataset.org)"
SCALED = (
    "z-scored within sessions by the source, over all trials: statistics of test trials are in it"
)


@dataclass(frozen=True)
class ShardsConfig:
    """Which shards to read.

    Parameters
    ----------
    subject
        Name of the subject, as in the names of the files.
    voxels
        Member that holds the betas, (rows, V).
    """

    subject: str = "subj01"
    voxels: str = "nsdgeneral.npy"


@dataclass(frozen=True)
class _Picture:
    """A sample's small members: its picture, its split, and where its rows were presented."""

    sample: Sample
    split: str
    coco73k: int
    count: int
    trial: int


def read_shards(root: Path, config: ShardsConfig) -> Recording:
    """Read the shards of one subject.

    Only tar headers and the small members are read at once. Betas are read a session at a time;
    published shards are one session, about 1.8 GB of float32 for a full subject.

    Parameters
    ----------
    root
        The folder with `train`, `val` and `test`, or the one above it.
    config
        Subject and names.

    Raises
    ------
    DataError
        If a shard is missing, cut off or malformed, samples do not fit together, or the same
        presentation occurs twice.
    LeakageError
        If a picture is in two splits.
    """
    root = next((root / f for f in FOLDERS if (root / f).is_dir()), root)
    metadata = _metadata(root, config.subject)
    exported = metadata.get("format") == EXPORT_FORMAT
    shards, samples = _samples(root, config.subject)
    names = [str(s.coco73k) for s in samples]
    if exported:
        _check_totals(samples, metadata, root)
        known = metadata.get("stimulus_ids")
        names = names if known is None else [str(known[s.coco73k]) for s in samples]
    _check_splits(names, samples)
    trials = _trial_table(samples, names, exported=exported)
    stimuli = pd.DataFrame({"stimulus_id": list(dict.fromkeys(names))})
    if isinstance(metadata.get("captions"), dict):
        stimuli["caption"] = [str(metadata["captions"].get(s, "")) for s in stimuli["stimulus_id"]]
    tables = [root / f"metadata_{config.subject}.json"] if metadata else []
    return Recording(
        subject=config.subject,
        trials=trials.drop(columns=["sample", "row"]),
        stimuli=stimuli,
        voxels=_voxels(root, samples[0].sample, config),
        read_betas=_betas_reader(samples, trials, config.voxels),
        read_pictures=_pictures_reader(names, samples),
        inputs=(*shards, *tables),
        info={
            "source": str(metadata.get("source", SOURCE)),
            "licence": str(metadata.get("licence", LICENCE)),
            "space": str(metadata.get("space", "func1pt8mm, nsdgeneral")),
            "simulated": bool(metadata.get("simulated", False)),
            "shards": len(shards),
            "samples": len(samples),
        },
        scaled=str(metadata.get("scaled", SCALED)),
    )


def _metadata(root: Path, subject: str) -> dict[str, Any]:
    """Return the metadata file's content; empty if there is none, which published code allows."""
    path = root / f"metadata_{subject}.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("totals", {}), dict):
        raise DataError(f"{path} is not the metadata of shards: no object with totals")
    if content.get("format") == EXPORT_FORMAT and not content.get("complete"):
        raise DataError(f"{path}: the export was not finished; run the same export again")
    return content


def _samples(root: Path, subject: str) -> tuple[list[Path], list[_Picture]]:
    shards = [
        (split, path)
        for split in SPLITS
        for path in find_shards(root / split, f"{split}_{subject}_")
    ]
    if not shards:
        raise DataError(
            f"no shards of {subject} at {root}/train/train_{subject}_0.tar ...; give "
            "the folder that holds train, val and test"
        )
    samples = [
        _describe(sample, split)
        for split, path in track(shards, "shards")
        for sample in index_shard(path)
    ]
    return [path for _, path in shards], samples


def _describe(sample: Sample, split: str) -> _Picture:
    count = sample.number("num_uniques.npy")
    picture, trial = sample.number("coco73k.npy"), sample.number("trial.npy")
    if count < 1:
        raise DataError(f"{sample}: num_uniques is {count}; it counts presentations")
    if not 0 <= picture < PICTURES_OF_NSD:
        raise DataError(f"{sample}: coco73k is {picture}; it runs from 0 to {PICTURES_OF_NSD - 1}")
    if not {"jpg", "png"} & set(sample.members):
        raise DataError(f"{sample} has no picture; it has {sorted(sample.members)}, not jpg or png")
    return _Picture(sample, split, picture, count, trial)


def _check_totals(samples: list[_Picture], metadata: dict[str, Any], root: Path) -> None:
    """Compare counts with an export's metadata; published totals are not known to be exact."""
    for split in SPLITS:
        count, total = sum(s.split == split for s in samples), metadata["totals"].get(split)
        if total != count:
            raise DataError(
                f"{root / split} holds {count} samples, the metadata says {total}; a shard is "
                "missing or too many"
            )


def _check_splits(names: list[str], samples: list[_Picture]) -> None:
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    for name, sample in zip(names, samples, strict=True):
        groups[sample.split].add(name)
    check_disjoint({split: sorted(members) for split, members in groups.items()})


def _trial_table(samples: list[_Picture], names: list[str], *, exported: bool) -> pd.DataFrame:
    """Return the trial table, with the sample and the row of the betas that each trial is.

    Exported shards say session, run and trial of every row; in published ones all are put into
    session 0, and `first_trial` is the place of a picture's first presentation.
    """
    counts = [s.count for s in samples]
    table = pd.DataFrame(
        {
            "sample": np.repeat(np.arange(len(samples)), counts),
            "row": np.concatenate([np.arange(n) for n in counts]),
            "stimulus_id": np.repeat(np.asarray(names, dtype=object), counts),
            "split": np.repeat(np.asarray([s.split for s in samples], dtype=object), counts),
        }
    )
    if exported:
        keys = ["session", "run", "trial"]
        rows = [s.sample.array("presentations.npy")[: s.count] for s in samples]
        table[keys] = np.concatenate(rows).reshape(len(table), len(keys))
        table = table.sort_values([*keys, "sample", "row"], kind="stable", ignore_index=True)
        first = table
    else:
        keys = ["first_trial"]
        table["first_trial"] = np.repeat([s.trial for s in samples], counts)
        first = table[table["row"] == 0]
    twice = first[first.duplicated([*keys, "stimulus_id"])]
    if len(twice):
        sample = samples[int(twice["sample"].iloc[0])].sample
        raise DataError(
            f"{sample} holds the same presentation as another sample: stimulus "
            f"{twice['stimulus_id'].iloc[0]}, {twice[keys].iloc[0].to_dict()}"
        )
    return complete_trials(table)


def _voxels(root: Path, sample: Sample, config: ShardsConfig) -> pd.DataFrame:
    count = _betas_of(sample, config.voxels).shape[1]
    path = root / f"voxels_{config.subject}.csv"
    if not path.is_file():
        return pd.DataFrame({"voxel": np.arange(count)})
    table = read_table(path)
    if len(table) != count:
        raise DataError(f"{path} has {len(table)} rows for {count} voxels")
    return table


def _betas_of(sample: Sample, name: str) -> NDArray[Any]:
    betas = sample.array(name)
    if betas.ndim != 2 or betas.dtype.kind != "f" or 0 in betas.shape:
        raise DataError(
            f"{sample}: {name} has shape {betas.shape} and type {betas.dtype}; betas are floating "
            "numbers of shape (presentations, voxels)"
        )
    return betas


def _betas_reader(
    samples: list[_Picture], trials: pd.DataFrame, name: str
) -> Callable[[int], NDArray[np.float32]]:
    width = _betas_of(samples[0].sample, name).shape[1]

    def read(session: int) -> NDArray[np.float32]:
        chosen = trials[trials["session"] == session].reset_index(drop=True)
        betas = np.empty((len(chosen), width), dtype=np.float32)
        groups = {int(str(n)): rows for n, rows in chosen.groupby("sample")}
        for number, rows in track(groups.items(), "betas", total=len(groups)):
            sample = samples[number]
            values = _betas_of(sample.sample, name)
            if values.shape[1] != width or len(values) < sample.count:
                raise DataError(
                    f"{sample.sample} has betas of shape {values.shape}; {sample.count} "
                    f"presentations of {width} voxels were expected"
                )
            betas[rows.index.to_numpy()] = values[rows["row"].to_numpy()]
        return betas

    return read


def _pictures_reader(
    names: list[str], samples: list[_Picture]
) -> Callable[[Sequence[str]], Iterator[NDArray[np.uint8]]]:
    first = {name: s.sample for name, s in reversed(list(zip(names, samples, strict=True)))}

    def read(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in stimulus_ids:
            if stimulus_id not in first:
                raise DataError(f"the shards hold no stimulus {stimulus_id!r}")
            sample = first[stimulus_id]
            # jpg before png, as in the published loader's rename(images="jpg;png").
            name = "jpg" if "jpg" in sample.members else "png"
            file = io.BytesIO(sample.read(name))
            yield read_picture(file, name=f"{sample}: {name}", formats=("JPEG", "PNG"))

    return read
