"""Any prepared subject as webdataset shards in the layout that MindEye1 was published with.

Code written for MedARC's shards reads ours unchanged: same folders and names, same members (see
`mindeye.datasets.shards`). What the published layout has no place for goes where such code does
not look: a further member `presentations.npy` with session, run and trial of every row, the
tables in `metadata_{subject}.json` and `voxels_{subject}.csv`.

`coco73k.npy` must be a whole number. Stimuli whose ids are 73k indices keep them; other ids
("scene00012") become row numbers in the subject's table of stimuli, and the metadata file lists
the ids by these numbers. A picture seen more often than a sample has rows is written as several
samples. Bytes depend on the subject, the config and the version of the JPEG encoder alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject
from mindeye.datasets.shards import EXPORT_FORMAT, PICTURES_OF_NSD
from mindeye.errors import DataError, MissingDependencyError, UsageError
from mindeye.files import atomic_path, read_json, write_json, write_text
from mindeye.progress import track


@dataclass(frozen=True)
class ExportConfig:
    """How a prepared subject becomes shards.

    Parameters
    ----------
    picture
        ``jpg`` as published, or ``png`` without loss; published code reads both.
    quality
        Quality of the JPEG pictures, 1 to 95.
    rows
        Number of presentations that a sample has room for; 3 as published.
    per_shard
        Number of samples in a shard; 500 as published.
    voxels
        Member that holds the betas.
    """

    picture: Literal["jpg", "png"] = "jpg"
    quality: int = 95
    rows: int = 3
    per_shard: int = 500
    voxels: str = "nsdgeneral.npy"

    def __post_init__(self) -> None:
        if self.picture not in ("jpg", "png") or not 1 <= self.quality <= 95:
            raise UsageError(
                f"picture is {self.picture!r} of quality {self.quality}; give jpg or png, 1 to 95"
            )
        if self.rows < 1 or self.per_shard < 1:
            raise UsageError(f"rows is {self.rows}, per_shard {self.per_shard}; both start at 1")


@dataclass(frozen=True)
class _Plan:
    """Samples of a subject in the order of the shards: (stimulus row, rows of the betas)."""

    numbers: dict[int, int]
    samples: dict[str, list[tuple[int, NDArray[np.int64]]]]
    names: list[str] | None


def export_shards(subject: Subject, out: Path, config: ExportConfig) -> list[Path]:
    """Write a subject's shards; shards that an interrupted call has finished are kept.

    Parameters
    ----------
    subject
        Any prepared subject.
    out
        Folder to write `train`, `val`, `test` and the metadata into.
    config
        Members of the samples, and sizes of samples and shards.

    Returns
    -------
    list of Path
        The shards.

    Raises
    ------
    DataError
        If `out` holds shards of another export, or betas do not fit into half precision.
    MissingDependencyError
        If webdataset is not installed.
    """
    writer = _tar_writer()
    name = str(subject.info.get("subject", "subj01"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(f"subject {name!r} may hold letters, digits, _ and - only")
    plan = _plan(subject, config)
    metadata = _metadata(subject, name, plan, config)
    path = out / f"metadata_{name}.json"
    _refuse_other_export(path, metadata)
    write_json(path, {**metadata, "complete": False})
    write_text(out / f"voxels_{name}.csv", subject.voxels.to_csv(index=False))
    shards = []
    for split, start in track(list(_shard_starts(plan, config)), "shards"):
        shard = out / split / f"{split}_{name}_{start // config.per_shard}.tar"
        shards.append(shard)
        if shard.is_file():
            continue
        members = plan.samples[split][start : start + config.per_shard]
        first = start + sum(len(plan.samples[s]) for s in SPLITS[: SPLITS.index(split)])
        # "encoder=False": members are given as bytes. A fixed time makes files comparable.
        with (
            atomic_path(shard) as temporary,
            temporary.open("wb") as file,
            writer(file, encoder=False, mtime=0) as tar,
        ):
            for number, (row, trials) in enumerate(members, start=first):
                sample = _sample(subject, plan.numbers[row], row, trials, config)
                tar.write({"__key__": f"sample{number:09d}", **sample})
    write_json(path, {**metadata, "complete": True})
    return shards


def _tar_writer() -> Any:
    try:
        from webdataset import TarWriter
    except ImportError as error:
        raise MissingDependencyError("webdataset", "shards") from error
    return TarWriter


def _plan(subject: Subject, config: ExportConfig) -> _Plan:
    ids = [str(s) for s in subject.stimuli["stimulus_id"]]
    numeric = all(s.isascii() and s.isdigit() and str(int(s)) == s for s in ids)
    numeric = numeric and max(map(int, ids)) < PICTURES_OF_NSD
    if not numeric and len(ids) > PICTURES_OF_NSD:
        raise DataError(f"{len(ids)} stimuli; shards number at most {PICTURES_OF_NSD}")
    samples: dict[str, list[tuple[int, NDArray[np.int64]]]] = {split: [] for split in SPLITS}
    for row, (stimulus_id, split) in enumerate(zip(ids, subject.stimuli["split"], strict=True)):
        trials = subject.rows_by_stimulus.get(stimulus_id)
        if trials is None or split not in samples:
            continue
        for start in range(0, len(trials), config.rows):
            samples[split].append((row, trials[start : start + config.rows]))
    numbers = {row: int(s) if numeric else row for row, s in enumerate(ids)}
    return _Plan(numbers, samples, None if numeric else ids)


def _metadata(subject: Subject, name: str, plan: _Plan, config: ExportConfig) -> dict[str, Any]:
    info = subject.info
    units = str(info.get("units", ""))
    content: dict[str, Any] = {
        "totals": {split: len(plan.samples[split]) for split in SPLITS},
        "format": EXPORT_FORMAT,
        "subject": name,
        "voxels": int(subject.betas.shape[1]),
        "scaled": units if "z-scored" in units else "",
        "source": str(info.get("source", "not stated")),
        "licence": str(info.get("licence", "not stated")),
        "space": str(info.get("space", "not stated")),
        "simulated": bool(info.get("simulated", False)),
        "fingerprint": subject.fingerprint,
        "config": asdict(config),
    }
    if plan.names is not None:
        content["stimulus_ids"] = plan.names
    if "caption" in subject.stimuli:
        table = subject.stimuli[["stimulus_id", "caption"]].dropna()
        content["captions"] = dict(zip(table["stimulus_id"], table["caption"], strict=True))
    return content


def _refuse_other_export(path: Path, metadata: dict[str, Any]) -> None:
    """Allow an empty folder, or one that the same export has begun or finished."""
    if path.is_file():
        try:
            known = read_json(path)
        except ValueError as error:
            raise DataError(f"{path} is not readable JSON: {error}") from error
        known = known if isinstance(known, dict) else {}
        if {k: v for k, v in known.items() if k != "complete"} == metadata:
            return
    elif not any(path.parent.glob(f"*/*_{metadata['subject']}_*.tar")):
        return
    raise DataError(
        f"{path.parent} holds other shards of {metadata['subject']}; give another folder"
    )


def _shard_starts(plan: _Plan, config: ExportConfig) -> Iterator[tuple[str, int]]:
    for split in SPLITS:
        for start in range(0, len(plan.samples[split]), config.per_shard):
            yield split, start


def _sample(
    subject: Subject, number: int, row: int, trials: NDArray[np.int64], config: ExportConfig
) -> dict[str, bytes]:
    shown = np.full((config.rows, 3), -1, dtype=np.int64)
    shown[: len(trials)] = subject.trials[["session", "run", "trial"]].to_numpy()[trials]
    return {
        config.picture: _encode(subject.pictures[row], config),
        config.voxels: _npy(_filled(subject, trials, config.rows)),
        "num_uniques.npy": _npy(np.array([len(trials)])),
        "trial.npy": _npy(np.array([max(0, shown[0, 2])])),
        "coco73k.npy": _npy(np.array([number])),
        "presentations.npy": _npy(shown),
    }


def _filled(subject: Subject, trials: NDArray[np.int64], rows: int) -> NDArray[np.float16]:
    """Return betas (rows, V); rows without a presentation hold the mean, as published."""
    with np.errstate(over="ignore"):
        betas = np.asarray(subject.betas[trials]).astype(np.float16)
    if not np.isfinite(betas).all():
        raise DataError(
            f"trial {trials[0]} of {subject.path}, or another of its stimulus, has betas beyond "
            "half precision (65504) or not finite; scale the betas first"
        )
    rest = np.repeat(betas.mean(axis=0, keepdims=True), rows - len(betas), axis=0)
    return np.concatenate([betas, rest.astype(np.float16)])


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _encode(picture: NDArray[np.uint8], config: ExportConfig) -> bytes:
    stream = io.BytesIO()
    how: dict[str, Any] = {"format": "PNG"}
    if config.picture == "jpg":
        how = {"format": "JPEG", "quality": config.quality}
    Image.fromarray(picture).save(stream, **how)
    return stream.getvalue()
