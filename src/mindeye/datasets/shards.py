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
  (`np.where(indices == picture)[0][0]` there). The other presentations' places are not stored:
  sessions are known only with the order of all trials (`ShardsConfig.order`), which is checked
  against `trial.npy`; without it every trial is put into session 0, "not known".

Betas were z-scored by the source within sessions, over all trials: statistics of test trials are
in them. Issue 38 counts 5,970 distinct pictures in an epoch of the training loader; that loader
draws shards with replacement (`resampled=True`), while the shards hold every picture once. Should
a picture be in several samples all the same, its presentations are put together.

None of this could be checked against the published files here.

Shards that `mindeye.datasets.shards_export` writes have a further member `presentations.npy`
(R, 3) int64, session, run and trial of every row, and more facts in the metadata file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.datasets.recording import Recording
from mindeye.datasets.shard_samples import (
    ShardSample,
    check_filled,
    decode_picture,
    describe,
    presentations,
)
from mindeye.datasets.shard_trials import (
    TRIALS_A_SESSION,
    places_by_picture,
    read_order,
    trial_table,
    trials_of,
)
from mindeye.datasets.tar_index import find_shards, index_shard
from mindeye.errors import DataError, UsageError
from mindeye.progress import track

FOLDERS = ("webdataset_avg_split", "webdataset_avg_new")
EXPORT_FORMAT = "mindeye shards 1"
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
        As in the names of the files.
    voxels
        Member that holds the betas, (rows, V).
    trust_counts
        Take `num_uniques` as it is and do not look whether the rows beyond it are filled in.
    order
        The pictures of all trials in the order of the experiment, see `read_order`; gives every
        trial its session (from 1, 750 trials each) and place.
    """

    subject: str = "subj01"
    voxels: str = "nsdgeneral.npy"
    trust_counts: bool = False
    order: Path | None = None

    def __post_init__(self) -> None:
        check_subject_name(self.subject)


def check_subject_name(subject: str) -> None:
    """Raise UsageError for a name that cannot be part of a file's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", subject):
        raise UsageError(f"subject {subject!r} may hold letters, digits, _ and - only")


def read_shards(root: Path, config: ShardsConfig) -> Recording:
    """Read the shards of one subject.

    Only tar headers and the small members are read at once. Betas are read a session at a time;
    published shards without `order` are one session, about 1.8 GB of float32 for a full subject.

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
    samples, shards = _samples(root, config)
    _check_totals(samples, metadata, root)
    shape, _ = samples[0].sample.header(config.voxels)
    names = _stimulus_names(samples, metadata, root)
    trials = trial_table(samples, names, _shown(samples, metadata, config))
    first = dict(reversed(list(zip(names, samples, strict=True))))
    stimuli = pd.DataFrame({"stimulus_id": list(dict.fromkeys(names))})
    captions = _captions(metadata, stimuli["stimulus_id"].tolist())
    if captions is not None:
        stimuli["caption"] = captions
    inputs = [*shards, *([] if config.order is None else [config.order])]
    if metadata:
        inputs.append(root / f"metadata_{config.subject}.json")
    return Recording(
        subject=config.subject,
        trials=trials.drop(columns=["sample", "row"]),
        stimuli=stimuli,
        voxels=_voxels(root, config.subject, shape[-1]),
        read_betas=_betas_reader(samples, trials, config),
        read_pictures=_pictures_reader(first),
        inputs=tuple(inputs),
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


def _samples(root: Path, config: ShardsConfig) -> tuple[list[ShardSample], list[Path]]:
    shards = [
        (split, path)
        for split in SPLITS
        for path in find_shards(root / split, f"{split}_{config.subject}_", required=False)
    ]
    if not shards:
        raise DataError(
            f"no shards of {config.subject} at {root}/train/train_{config.subject}_0.tar ...; give "
            "the folder that holds train, val and test"
        )
    found: list[ShardSample] = []
    for split, path in track(shards, "shards"):
        found += [describe(sample, split, config.voxels) for sample in index_shard(path)]
    widths = {s.sample.header(config.voxels)[0][-1]: s.sample for s in found}
    if len(widths) != 1:
        parts = ", ".join(f"{v} in {s}" for v, s in list(widths.items())[:2])
        raise DataError(f"samples have different numbers of voxels: {parts}")
    return found, [path for _, path in shards]


def _check_totals(samples: list[ShardSample], metadata: dict[str, Any], root: Path) -> None:
    """Compare counts with an export's metadata; published totals are not known to be exact."""
    if metadata.get("format") != EXPORT_FORMAT:
        return
    for split in SPLITS:
        count = sum(s.split == split for s in samples)
        if metadata.get("totals", {}).get(split) != count:
            raise DataError(
                f"{root / split} holds {count} samples, the metadata says "
                f"{metadata.get('totals', {}).get(split)}; a shard is missing or too many"
            )


def _stimulus_names(samples: list[ShardSample], metadata: dict[str, Any], root: Path) -> list[str]:
    """Return the stimulus id of every sample: the 73k index, or what an export's list says."""
    listed = metadata.get("stimulus_ids")
    if listed is None:
        names = [str(s.picture) for s in samples]
    else:
        top = max(s.picture for s in samples)
        if not isinstance(listed, list) or top >= len(listed):
            raise DataError(f"the metadata in {root} lists no stimulus id for coco73k {top}")
        names = [str(listed[s.picture]) for s in samples]
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    for name, sample in zip(names, samples, strict=True):
        groups[sample.split].add(name)
    check_disjoint({split: sorted(members) for split, members in groups.items()})
    return names


def _shown(
    samples: list[ShardSample], metadata: dict[str, Any], config: ShardsConfig
) -> list[NDArray[np.int64]] | None:
    """Return session, run and trial (count, 3) of every sample's rows; None if not known."""
    if metadata.get("format") == EXPORT_FORMAT:
        return [presentations(s) for s in samples]
    if config.order is None:
        return None
    places = places_by_picture(read_order(config.order, config.subject))
    trials = [trials_of(s, places) for s in samples]
    return [np.stack([t // TRIALS_A_SESSION + 1, np.zeros_like(t), t], axis=1) for t in trials]


def _captions(metadata: dict[str, Any], stimulus_ids: list[str]) -> list[str] | None:
    known = metadata.get("captions")
    if not isinstance(known, dict):
        return None
    return [str(known.get(s, "")) for s in stimulus_ids]


def _voxels(root: Path, subject: str, count: int) -> pd.DataFrame:
    path = root / f"voxels_{subject}.csv"
    if not path.is_file():
        return pd.DataFrame({"voxel": np.arange(count)})
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    if len(table) != count:
        raise DataError(f"{path} has {len(table)} rows for {count} voxels")
    return table


def _betas_reader(
    samples: list[ShardSample], trials: pd.DataFrame, config: ShardsConfig
) -> Callable[[int], NDArray[np.float32]]:
    def read(session: int) -> NDArray[np.float32]:
        chosen = trials[trials["session"] == session].reset_index(drop=True)
        width = samples[0].sample.header(config.voxels)[0][-1]
        betas = np.empty((len(chosen), width), dtype=np.float32)
        groups = {int(str(n)): rows for n, rows in chosen.groupby("sample")}
        for number, rows in track(groups.items(), "betas", total=len(groups)):
            values = samples[number].sample.array(config.voxels)
            if not config.trust_counts:
                check_filled(samples[number], values)
            betas[rows.index.to_numpy()] = values[rows["row"].to_numpy()]
        return betas

    return read


def _pictures_reader(
    first: dict[str, ShardSample],
) -> Callable[[Sequence[str]], Iterator[NDArray[np.uint8]]]:
    def read(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in stimulus_ids:
            if stimulus_id not in first:
                raise DataError(f"the shards hold no stimulus {stimulus_id!r}")
            yield decode_picture(first[stimulus_id].sample)

    return read
