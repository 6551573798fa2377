"""The permutation null: a subject whose training brains belong to other training stimuli."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mindeye.data.subject import Subject

SHUFFLED = ("train", "val")
"""Splits whose pairs are shuffled, each within itself; test pairs are what scores are taken on."""

STREAM = 7003
"""Names the stream of random numbers that permutations come from."""


def permuted_subject(subject: Subject, permutation: int) -> Subject:
    """Shuffle which brain belongs to which stimulus, within train and within val.

    All repeats of a stimulus move together to another one, so that betas, pictures, repeats and
    splits stay what they are: the pairing alone is lost. Permutations are uniform over all of
    them, the identity included, and depend on their number alone, not on the run's seed: so N of
    them and the recorded pairing give a p-value of (1 + better or equal ones) / (1 + N) (Phipson
    and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).

    It is done in the table of trials, through which everything that reads pairs finds its betas.

    Parameters
    ----------
    subject
        Subject with the recorded pairs, which is left unchanged.
    permutation
        0 for the recorded pairs; n > 0 for the n-th permutation.
    """
    if permutation == 0:
        return subject
    shown_as: dict[str, str] = {}
    for number, split in enumerate(SHUFFLED):
        ids = subject.splits[split]
        order = np.random.default_rng([STREAM, permutation, number]).permutation(len(ids))
        shown_as |= {ids[i]: ids[j] for i, j in enumerate(order)}
    trials = subject.trials.copy()
    trials["stimulus_id"] = [shown_as.get(s, s) for s in trials["stimulus_id"]]
    return replace(subject, trials=trials)
