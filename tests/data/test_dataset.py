from __future__ import annotations

import numpy as np
import torch

from mindeye.data.dataset import TrainingSet
from mindeye.data.subject import Subject


def test_an_epoch_shows_each_training_stimulus_once_and_no_other(small_subject: Subject) -> None:
    ids = small_subject.splits["train"]
    data = TrainingSet(small_subject, ids)
    rows = torch.cat([b.stimulus_rows for b in data.epoch(0, seed=0, batch_size=16)])
    assert sorted(rows.tolist()) == sorted(small_subject.row_of_stimulus[s] for s in ids)


def test_betas_belong_to_their_stimulus(small_subject: Subject) -> None:
    data = TrainingSet(small_subject, small_subject.splits["train"])
    for batch in data.epoch(3, seed=1, batch_size=16):
        for betas, row in zip(batch.betas, batch.stimulus_rows, strict=True):
            stimulus_id = small_subject.stimuli["stimulus_id"][int(row)]
            trials = small_subject.betas[small_subject.rows_by_stimulus[stimulus_id]]
            assert (trials == betas.numpy()).all(axis=1).any()


def test_all_repeats_are_used_over_the_epochs(small_subject: Subject) -> None:
    stimulus_id = small_subject.splits["train"][0]
    data = TrainingSet(small_subject, small_subject.splits["train"])
    row = small_subject.row_of_stimulus[stimulus_id]
    seen = set()
    for epoch in range(20):
        for batch in data.epoch(epoch, seed=0, batch_size=16):
            for betas, r in zip(batch.betas, batch.stimulus_rows, strict=True):
                if int(r) == row:
                    seen.add(betas.numpy().tobytes())
    assert len(seen) == 3


def test_a_last_batch_of_one_is_left_out(small_subject: Subject) -> None:
    data = TrainingSet(small_subject, small_subject.splits["train"][:33])
    sizes = [len(b.betas) for b in data.epoch(0, seed=0, batch_size=16)]
    assert sizes == [16, 16]
    assert data.batches_per_epoch(16) == 2


def test_epochs_depend_on_seed_and_epoch_alone(small_subject: Subject) -> None:
    data = TrainingSet(small_subject, small_subject.splits["train"])

    def order(epoch: int, seed: int) -> list[int]:
        batches = data.epoch(epoch, seed=seed, batch_size=16)
        return np.concatenate([b.stimulus_rows.numpy() for b in batches]).tolist()

    list(data.epoch(0, seed=0, batch_size=16))
    assert order(5, 0) == order(5, 0)
    assert order(5, 0) != order(6, 0)
    assert order(5, 0) != order(5, 1)
