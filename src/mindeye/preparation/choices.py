"""Which stimuli are train, val and test, and which trials a session budget leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindeye.data.splits import SPLITS, hold_out, splits_from_trials
from mindeye.datasets.numbers import parse_numbers, spans
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError, UsageError
from mindeye.preparation.config import PrepareConfig

HoldOut = Callable[[Sequence[str], float, np.random.Generator], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Choice:
    """What a preparation takes of a recording.

    Parameters
    ----------
    splits
        Stimulus ids of train, val and test.
    rows
        Rows of the recording's trial table that are kept, increasing.
    sessions
        Training sessions.
    test_set
        How the test stimuli were chosen: a name, "column", "random", a file ...
    """

    splits: dict[str, list[str]]
    rows: NDArray[np.int64]
    sessions: list[int]
    test_set: str


def choose(recording: Recording, config: PrepareConfig, by_cluster: HoldOut) -> Choice:
    """Choose splits by stimulus, then the trials that the session budget leaves.

    Training and val stimuli are those seen in the budget's sessions; test trials come from all
    sessions or from the budget, see `PrepareConfig`.

    Parameters
    ----------
    recording
        Recording of one subject.
    config
        `test`, shares, `sessions`, `test_sessions`, `seed`.
    by_cluster
        Holds whole clusters of pictures out, called for ``test=clusters``.

    Raises
    ------
    UsageError
        If the test set or a session is not known.
    LeakageError
        If the column split has a stimulus on two sides.
    DataError
        If a split ends up empty.
    """
    trials = recording.trials
    sessions = parse_numbers(config.sessions, recording.sessions, what="session")
    in_budget = trials["session"].isin(sessions).to_numpy()
    seen = trials if config.test_sessions == "all" else trials[in_budget]
    test_set = _test_set(recording, config)
    rng = np.random.default_rng(config.seed)
    everyone = sorted(set(seen["stimulus_id"]))
    if test_set == "column":
        return _by_column(recording, config, in_budget, sessions)
    if test_set == "random":
        rest, test = hold_out(everyone, config.test_share, rng)
    elif test_set == "clusters":
        rest, test = by_cluster(everyone, config.test_share, rng)
    else:
        wanted = set(_named_ids(recording, test_set))
        test = [s for s in everyone if s in wanted]
        rest = [s for s in everyone if s not in wanted]
    if not test:
        raise DataError(f"no stimulus of the test set {test_set} was seen in these sessions")
    learnt = set(trials.loc[in_budget, "stimulus_id"])
    train = [s for s in rest if s in learnt]
    if test_set == "every":
        splits = {"train": [], "val": [], "test": test}
    else:
        kept, val = hold_out(train, config.val_share, rng)
        splits = {"train": kept, "val": val, "test": test}
    return _with_rows(recording, config, in_budget, sessions, splits, test_set)


def _test_set(recording: Recording, config: PrepareConfig) -> str:
    """Resolve ``auto`` and refuse names that are not known."""
    has_column = "split" in recording.trials.columns
    if config.test == "auto":
        if has_column:
            return "column"
        return next(iter(recording.test_sets), "random")
    if config.test == "column" and not has_column:
        raise UsageError("--test column: the trial table has no column split")
    known = ["column", "random", "clusters", "every", *recording.test_sets]
    if config.test in known or Path(config.test).is_file():
        return config.test
    raise UsageError(
        f"no test set {config.test!r}; this source has {', '.join(known)}, or give a text file "
        "with a stimulus id a line"
    )


def _named_ids(recording: Recording, test_set: str) -> Sequence[str]:
    if test_set == "every":
        return [str(s) for s in recording.stimuli["stimulus_id"]]
    if test_set in recording.test_sets:
        return recording.test_sets[test_set]
    try:
        lines = Path(test_set).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{test_set} is not a readable list of stimulus ids: {error}") from error
    ids = [line.strip() for line in lines if line.strip()]
    unknown = sorted(set(ids) - set(recording.stimuli["stimulus_id"]))
    if unknown:
        raise DataError(
            f"{test_set} lists stimulus {unknown[0]!r}, which {recording.subject} never saw "
            f"({len(unknown)} such)"
        )
    return ids


def _by_column(
    recording: Recording, config: PrepareConfig, in_budget: NDArray[np.bool_], sessions: list[int]
) -> Choice:
    trials = recording.trials
    is_test = (trials["split"] == "test").to_numpy()
    kept = in_budget | (is_test if config.test_sessions == "all" else False)
    splits = splits_from_trials(
        trials[kept],
        test_share=config.test_share,
        val_share=config.val_share,
        rng=np.random.default_rng(config.seed),
    )
    return _with_rows(recording, config, in_budget, sessions, splits, "column")


def _with_rows(
    recording: Recording,
    config: PrepareConfig,
    in_budget: NDArray[np.bool_],
    sessions: list[int],
    splits: dict[str, list[str]],
    test_set: str,
) -> Choice:
    shown = recording.trials["stimulus_id"]
    wanted = shown.isin([s for name in SPLITS for s in splits[name]]).to_numpy()
    is_test = shown.isin(splits["test"]).to_numpy()
    kept = wanted & (in_budget | (is_test & (config.test_sessions == "all")))
    return Choice(splits, np.flatnonzero(kept).astype(np.int64), sessions, test_set)


def counts(choice: Choice, recording: Recording) -> dict[str, str]:
    """Return what was chosen in words, for the screen and for `subject.json`."""
    shown = recording.trials.iloc[choice.rows]
    facts = {"test set": choice.test_set, "training sessions": spans(choice.sessions)}
    for name in SPLITS:
        repeats = shown.loc[shown["stimulus_id"].isin(choice.splits[name]), "stimulus_id"]
        per_stimulus = repeats.value_counts()
        often = ", ".join(
            f"{int((per_stimulus == k).sum())} seen {k} x" for k in sorted(set(per_stimulus))
        )
        facts[name] = f"{len(choice.splits[name])} stimuli, {len(repeats)} trials ({often or '-'})"
    return facts
