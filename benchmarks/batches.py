"""Batches out of a prepared subject beside batches out of webdataset shards of the same subject.

One process, warm page cache, the ways take turns; each goes on where it was, so that neither a
start nor the filling of a buffer is under the clock. The shards are read by the chain of MindEye1's
`utils.get_dataloaders` (resampled shards, a shuffle buffer of 500, decode, rename, to_tuple,
batched): a sample of theirs is a picture with all its rows of betas. Training here reads the betas
of one presentation and the stored embeddings of its stimulus. One of the subject's ways gives the
very arrays that the published chain gives.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.command import reported, run_benchmark
from benchmarks.timing import alternate, machine, quiet
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.data.images import to_images
from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_writing import write_subject
from mindeye.data.trials import complete_trials
from mindeye.datasets.shards_export import ExportConfig, export_shards
from mindeye.errors import DataError, MissingDependencyError, UsageError
from mindeye.files import provenance
from mindeye.targets.views import StoredTargets

WANTED_SPEED = 10.0
"""Samples a second, in units of the shards', that is asked for."""

BUFFER = 500
"""Samples in the published loader's shuffle buffer."""

WAYS = {
    "subject: betas, rows": "betas of one presentation, stimulus rows",
    "subject: betas, embeddings": "the same and stored embeddings: what training reads",
    "subject: betas, pictures": "betas of one presentation, pictures as uint8",
    "subject: all betas": "betas of all presentations, stimulus rows",
    "subject: all betas, images": "the very arrays of the published chain, betas in float32",
    "shards: all betas": "the published chain, pictures not decoded",
    "shards: all betas, images": "the published chain",
}
PUBLISHED = "shards: all betas, images"
LIKE = {
    "subject: betas, rows": "shards: all betas",
    "subject: betas, embeddings": PUBLISHED,
    "subject: betas, pictures": PUBLISHED,
    "subject: all betas": "shards: all betas",
    "subject: all betas, images": PUBLISHED,
}
"""A subject's ways, and the way out of shards that each is set against."""


@dataclass(frozen=True)
class BatchesBench:
    """What to measure.

    Parameters
    ----------
    subject_dir
        Folder of a prepared subject; None makes one of random betas and smooth pictures.
    shards
        Folder of its shards if there is one; they are exported otherwise, and removed.
    stimuli, voxels, size, repeats
        Of the made subject; MindEye1's voxels and repeats, as many stimuli as fit the page cache.
    tokens, width
        K and D of the stored embeddings; MindEye1's.
    batch_size
        Samples a batch.
    batches
        Batches out of shards that are timed a repetition.
    more_batches
        Times as many are timed out of the subject, which would be over in a moment.
    repetitions
        Times that each way is timed, in turns.
    seed
        Of the made subject and all draws.
    """

    subject_dir: Path | None = None
    shards: Path | None = None
    stimuli: int = 600
    voxels: int = 15724
    size: int = 256
    repeats: int = 3
    tokens: int = 257
    width: int = 768
    batch_size: int = 32
    batches: int = 16
    more_batches: int = 16
    repetitions: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.voxels, self.size, self.repeats, self.tokens, self.width, self.batch_size)
        if min(*sizes, self.batches, self.more_batches, self.repetitions) < 1 or self.stimuli < 4:
            raise UsageError("sizes of the bench start at 1, stimuli at 4")


def bench_batches(config: BatchesBench) -> dict[str, Any]:
    """Measure samples a second, every way.

    Returns
    -------
    dict
        Settings, machine, and by way: samples a second (median and all repetitions), megabytes
        of arrays a sample, and for a subject's ways the speed in units of its counterpart's.

    Raises
    ------
    DataError
        If the subject has fewer training stimuli than a batch, or the shards are not its own.
    MissingDependencyError
        If webdataset is not installed.
    """
    facts = machine()
    with tempfile.TemporaryDirectory(prefix="mindeye-batches-") as folder, quiet():
        subject = _subject(config, Path(folder))
        urls = _shards(config, subject, Path(folder))
        readings = _readings(config, subject, urls, _embeddings(config, subject, Path(folder)))
        bytes_of = {name: _bytes(next(reading)) for name, reading in readings.items()}
        counts = {
            name: config.batches * (config.more_batches if name in LIKE else 1) for name in readings
        }
        taken = alternate(
            {name: partial(_take, reading, counts[name]) for name, reading in readings.items()},
            config.repetitions,
        )
        sizes = _sizes(subject, urls)
    ways: dict[str, dict[str, Any]] = {}
    for name, seconds in taken.items():
        rates = [counts[name] * config.batch_size / s for s in seconds]
        ways[name] = {
            "what": WAYS[name],
            "samples_per_second": median(rates),
            "megabytes_per_sample": bytes_of[name] / config.batch_size / 1e6,
            "repetitions": rates,
        }
    for name, like in LIKE.items():
        own, other = ways[name]["samples_per_second"], ways[like]["samples_per_second"]
        ways[name] |= {"against": like, "speed": own / other}
    return {
        "bench": "batches",
        **provenance(),
        "machine": facts,
        "settings": {k: _plain(v) for k, v in vars(config).items()},
        "sizes": sizes,
        "wanted_speed": WANTED_SPEED,
        "ways": ways,
    }


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _subject(config: BatchesBench, folder: Path) -> Subject:
    if config.subject_dir is not None:
        subject = load_subject(config.subject_dir)
    else:
        subject = make_subject(config, folder / "subject")
    count = len(subject.splits["train"])
    if count < config.batch_size:
        raise DataError(
            f"{subject.path} has {count} training stimuli, fewer than a batch of "
            f"{config.batch_size}"
        )
    return subject


def make_subject(config: BatchesBench, folder: Path) -> Subject:
    """Write a subject of random betas and of pictures that are as smooth as photographs."""
    rng = np.random.default_rng(config.seed)
    count, repeats = config.stimuli, config.repeats
    ids = [f"{i:05d}" for i in range(count)]
    test = max(1, count // 10)
    split = ["train"] * (count - 2 * test) + ["val"] * test + ["test"] * test
    shown = np.concatenate([rng.permutation(count) for _ in range(repeats)])
    trials = complete_trials(pd.DataFrame({"stimulus_id": [ids[i] for i in shown]}))
    return write_subject(
        folder,
        betas=rng.standard_normal((len(shown), config.voxels), dtype=np.float32),
        trials=trials,
        pictures=np.stack([_picture(config.size, rng) for _ in range(count)]),
        stimuli=pd.DataFrame({"stimulus_id": ids, "split": split}),
        voxels=pd.DataFrame({"voxel": np.arange(config.voxels)}),
        info={"subject": "bench", "source": "mindeye bench batches", "simulated": True},
    )


def _picture(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return noise of three scales (size, size, 3): a JPEG of it is as large as a photograph's."""
    total = np.zeros((size, size, 3))
    for side, weight in ((4, 0.6), (max(4, size // 8), 0.3), (max(4, size // 3), 0.1)):
        small = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
        total += weight * np.asarray(large)
    return np.asarray(total, dtype=np.uint8)


def _shards(config: BatchesBench, subject: Subject, folder: Path) -> list[str]:
    """Return the training shards, exported first if none are given."""
    name = str(subject.info.get("subject", "subj01"))
    out = config.shards
    if out is None:
        out = folder / "shards"
        export_shards(subject, out, ExportConfig(rows=config.repeats))
    urls = sorted(str(p) for p in (out / "train").glob(f"train_{name}_*.tar"))
    if not urls:
        raise DataError(f"no shards at {out}/train/train_{name}_0.tar ...")
    return urls


def _embeddings(config: BatchesBench, subject: Subject, folder: Path) -> StoredTargets:
    """Write embeddings (S, K, D) float32 of no meaning, opened as in training."""
    shape = (len(subject.stimuli), config.tokens, config.width)
    path = folder / "tokens.npy"
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    row = np.random.default_rng(config.seed).standard_normal(shape[1:], dtype=np.float32)
    for i in range(len(stored)):
        stored[i] = row + i
    stored.flush()
    return StoredTargets([np.load(path, mmap_mode="c")])


def _readings(
    config: BatchesBench, subject: Subject, urls: list[str], targets: StoredTargets
) -> dict[str, Iterator[tuple[Any, ...]]]:
    """Return endless readings of batches by way."""
    rng = torch.Generator()

    def with_embeddings() -> Iterator[tuple[Any, ...]]:
        for batch in _as_trained(config, subject):
            yield batch.betas, targets(batch.stimulus_rows, rng=rng)

    def with_pictures() -> Iterator[tuple[Any, ...]]:
        for batch in _as_trained(config, subject):
            yield batch.betas, torch.from_numpy(subject.pictures[batch.stimulus_rows.numpy()])

    def with_images() -> Iterator[tuple[Any, ...]]:
        for betas, rows in _all_betas(config, subject):
            yield betas, to_images(subject.pictures[rows]), rows

    return {
        "subject: betas, rows": _as_trained(config, subject),
        "subject: betas, embeddings": with_embeddings(),
        "subject: betas, pictures": with_pictures(),
        "subject: all betas": _all_betas(config, subject),
        "subject: all betas, images": with_images(),
        "shards: all betas": _from_shards(config, urls, images=False),
        PUBLISHED: _from_shards(config, urls, images=True),
    }


def _as_trained(config: BatchesBench, subject: Subject) -> Iterator[Batch]:
    """Yield training's batches, one epoch after the other."""
    data = TrainingSet(subject, subject.splits["train"])
    size = config.batch_size
    for epoch in itertools.count():
        yield from data.epoch(epoch, seed=config.seed, batch_size=size, smallest=size)


def _all_betas(
    config: BatchesBench, subject: Subject
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield what a shard's sample holds: betas (N, R, V) of every presentation, and rows (N,)."""
    rng = np.random.default_rng(config.seed)
    ids = subject.splits["train"]
    longest = max(len(subject.rows_by_stimulus[s]) for s in ids)
    trials = np.stack([np.resize(subject.rows_by_stimulus[s], longest) for s in ids])
    rows = np.asarray([subject.row_of_stimulus[s] for s in ids])
    while True:
        order = rng.permutation(len(ids))
        for start in range(0, len(ids) - config.batch_size + 1, config.batch_size):
            members = order[start : start + config.batch_size]
            yield np.asarray(subject.betas[trials[members]]), rows[members]


def _from_shards(
    config: BatchesBench, urls: list[str], *, images: bool
) -> Iterator[tuple[Any, ...]]:
    """Yield batches of the published chain; without `images` pictures are not decoded."""
    try:
        import webdataset as wds
    except ImportError as error:
        raise MissingDependencyError("webdataset", "shards") from error
    chain = wds.WebDataset(
        urls, resampled=True, nodesplitter=wds.split_by_node, shardshuffle=False
    ).shuffle(BUFFER, initial=BUFFER, rng=random.Random(config.seed))
    names = {"voxels": "nsdgeneral.npy", "coco": "coco73k.npy"}
    if images:
        chain = chain.decode("torch").rename(images="jpg;png", **names)
        chain = chain.to_tuple("voxels", "images", "coco")
    else:
        chain = chain.decode(only=["nsdgeneral.npy", "coco73k.npy"]).rename(**names)
        chain = chain.to_tuple("voxels", "coco")
    return iter(chain.batched(config.batch_size, partial=False))


def _take(reading: Iterator[Any], batches: int) -> None:
    for _ in range(batches):
        next(reading)


def _bytes(batch: tuple[Any, ...]) -> int:
    """Return the bytes of a batch's betas, pictures and embeddings: all that is no row number."""
    arrays = [np.asarray(a) for a in batch]
    return sum(a.nbytes for a in arrays if a.dtype.kind in "fu")


def _sizes(subject: Subject, urls: list[str]) -> dict[str, Any]:
    return {
        "training_stimuli": len(subject.splits["train"]),
        "voxels": int(subject.betas.shape[1]),
        "pictures": [int(n) for n in subject.pictures.shape[1:3]],
        "subject_megabytes": (subject.betas.nbytes + subject.pictures.nbytes) / 1e6,
        "training_shards_megabytes": sum(Path(u).stat().st_size for u in urls) / 1e6,
        "training_shards": len(urls),
    }


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    settings, sizes = content["settings"], content["sizes"]
    lines = [
        f"batches of {settings['batch_size']}, {sizes['training_stimuli']} training stimuli, "
        f"{sizes['voxels']} voxels, pictures {sizes['pictures'][0]} x {sizes['pictures'][1]}; "
        f"one process, warm page cache, median of {settings['repetitions']} in turns",
        f"{'way':<30}{'samples/s':>11}{'MB/sample':>11}{'speed':>8}   what a sample is",
    ]
    for name, way in content["ways"].items():
        speed = f"{way['speed']:.1f} x" if "speed" in way else "-"
        lines.append(
            f"{name:<30}{way['samples_per_second']:>11.0f}{way['megabytes_per_sample']:>11.3f}"
            f"{speed:>8}   {way['what']}"
        )
    lines.append(
        "speed: against the published chain; of the ways without pictures or embeddings, against "
        f"the chain that decodes none; asked for: {content['wanted_speed']:.0f} x"
    )
    return "\n".join(lines)


def main(*, json: Path, bench: BatchesBench) -> str:
    """Read batches out of a prepared subject and out of webdataset shards of it.

    Without --subject-dir a subject of random betas is made, and removed.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.batches --batches 16 --json batches.json
    """
    return reported(bench_batches(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
