"""The bench of batches compares equal content: what each way hands out is looked at, not timed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.batches import (
    LIKE,
    PUBLISHED,
    WAYS,
    BatchesBench,
    _embeddings,
    _readings,
    _shards,
    bench_batches,
    make_subject,
    table,
)
from mindeye.data.subject_writing import write_subject
from mindeye.errors import DataError, UsageError

SMALL = BatchesBench(
    stimuli=40, voxels=30, size=16, tokens=3, width=4, batch_size=8, batches=2, more_batches=2,
    repetitions=2,
)  # fmt: skip


def test_every_way_gives_the_betas_and_pictures_of_the_same_stimuli(tmp_path: Path) -> None:
    subject = make_subject(SMALL, tmp_path / "subject")
    urls = _shards(SMALL, subject, tmp_path)
    readings = _readings(SMALL, subject, urls, _embeddings(SMALL, subject, tmp_path))
    assert list(readings) == list(WAYS)
    training = {subject.row_of_stimulus[s] for s in subject.splits["train"]}
    seen = set()

    def trials(row: int) -> np.ndarray:
        return subject.betas[subject.rows_by_stimulus[subject.stimuli["stimulus_id"][row]]]

    for betas, images, rows in islice(readings["subject: all betas, images"], 4):
        for i, row in enumerate(rows.tolist()):
            np.testing.assert_array_equal(betas[i], trials(row))
            pixels = (images[i].permute(1, 2, 0) * 255).round().numpy()
            np.testing.assert_array_equal(pixels, subject.pictures[row])
            seen.add(row)
    assert seen == training

    seen = set()
    for betas, images, numbers in islice(readings[PUBLISHED], 20):
        for i, number in enumerate(np.asarray(numbers).ravel().tolist()):
            # Ids with leading zeros are no numbers: shards number the rows of the table.
            wanted = np.asarray(trials(number)).astype(np.float16)
            np.testing.assert_array_equal(betas[i], wanted)
            pixels = (images[i].permute(1, 2, 0) * 255).numpy()
            assert np.abs(pixels - subject.pictures[number]).mean() < 12
            seen.add(number)
    assert seen == training

    betas, rows = next(readings["subject: betas, rows"])
    same, targets = next(readings["subject: betas, embeddings"])
    _, pictures = next(readings["subject: betas, pictures"])
    assert torch.equal(betas, same)
    stored = np.load(tmp_path / "tokens.npy")
    np.testing.assert_array_equal(targets.numpy(), stored[rows.numpy()])
    np.testing.assert_array_equal(pictures.numpy(), subject.pictures[rows.numpy()])


def test_speeds_are_ratios_of_the_medians(tmp_path: Path) -> None:
    content = bench_batches(SMALL)
    ways = content["ways"]
    for name, like in LIKE.items():
        own, other = (np.median(ways[n]["repetitions"]) for n in (name, like))
        assert ways[name]["speed"] == pytest.approx(own / other)
        assert len(ways[name]["repetitions"]) == SMALL.repetitions
    # 30 float32 and 3 * 30 float16; pictures of 16 x 16 x 3 uint8 and float32
    assert ways["subject: betas, pictures"]["megabytes_per_sample"] == pytest.approx(888e-6)
    assert ways[PUBLISHED]["megabytes_per_sample"] == pytest.approx((180 + 3072) * 1e-6)
    text = table(content)
    for name in WAYS:
        assert f"{ways[name]['samples_per_second']:.0f}" in text
        assert name in text


def test_a_subject_too_small_for_a_batch_is_refused(tmp_path: Path) -> None:
    subject = make_subject(SMALL, tmp_path / "subject")
    few = subject.stimuli.assign(split=["train"] * 5 + ["test"] * 35)
    write_subject(
        tmp_path / "few", betas=np.array(subject.betas), trials=subject.trials,
        pictures=np.array(subject.pictures), stimuli=few, voxels=subject.voxels, info=subject.info,
    )  # fmt: skip
    config = BatchesBench(subject_dir=tmp_path / "few", batch_size=8)
    with pytest.raises(DataError, match="5 training stimuli, fewer than a batch of 8"):
        bench_batches(config)
    with pytest.raises(UsageError, match="start at 1"):
        BatchesBench(batches=0)


def test_shards_that_are_not_there_are_named(tmp_path: Path) -> None:
    make_subject(SMALL, tmp_path / "subject")
    config = BatchesBench(
        subject_dir=tmp_path / "subject",
        shards=tmp_path / "nowhere",
        batch_size=8,
        tokens=2,
        width=2,
    )
    with pytest.raises(DataError, match=r"train_bench_0.tar"):
        bench_batches(config)
