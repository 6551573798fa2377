"""How any recording becomes a prepared subject; apart from the code, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mindeye.errors import ConfigError

BadVoxels = Literal["refuse", "drop"]
Duplicates = Literal["refuse", "drop", "allow"]
Scaling = Literal["auto", "session", "train", "session_all", "none"]
TestSessions = Literal["all", "budget"]


@dataclass(frozen=True)
class PrepareConfig:
    """Splits, scaling and guards of a preparation, the same for every source.

    Parameters
    ----------
    test
        Test stimuli: the name of a set that the source defines (NSD: shared1000, shared982,
        special515), ``column`` for the column split of the trial table, ``random``, ``clusters``
        for whole clusters of look-alike pictures, ``every`` for all stimuli (nothing to train
        on), or a text file with a stimulus id a line; ``auto`` takes the column, else the
        source's own set, else random.
    test_share
        Share of stimuli held out as test by ``random`` and ``clusters``.
    val_share
        Share of training stimuli held out as val if the trial table names none.
    cluster_embeddings
        Embeddings for ``clusters`` by meaning, an .npy (pictures, width) whose row is the stimulus
        id; without it they are clusters by layout and colour.
    sessions
        Sessions to train on, like 1 (the one-hour setting), 1-5,7 or all; scaling is fitted on
        their training trials alone.
    test_sessions
        Sessions that test trials come from: ``all`` sessions, or the training ``budget`` alone.
    zscore
        ``session`` within sessions on training trials, ``train`` over all training trials,
        ``session_all`` within sessions on all trials (as published; test trials are in the
        statistics), ``none``; ``auto`` is session where there are several, else train, and none
        where the source has scaled the betas itself.
    bad_voxels
        What becomes of voxels that are constant, not finite or saturated: ``refuse`` or ``drop``.
    duplicates
        What becomes of one picture under two ids in two splits: ``refuse``, ``drop`` (the training
        copy is left out) or ``allow``.
    no_alignment_test
        Do not test whether pictures and betas belong together; recorded in the subject.
    size
        Side that pictures are resized to (bicubic, antialiased), 0 for as they are.
    seed
        Seed of drawn splits and of the alignment self-test.
    """

    test: str = "auto"
    test_share: float = 0.1
    val_share: float = 0.1
    cluster_embeddings: str = ""
    sessions: str = "all"
    test_sessions: TestSessions = "all"
    zscore: Scaling = "auto"
    bad_voxels: BadVoxels = "refuse"
    duplicates: Duplicates = "refuse"
    no_alignment_test: bool = False
    size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test_share", "val_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.size < 0:
            raise ConfigError(f"size is a side in pixels, or 0 for none, not {self.size}")
        if self.cluster_embeddings and self.test != "clusters":
            raise ConfigError("cluster_embeddings belong to test=clusters")
