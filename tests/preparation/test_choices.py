from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_recording import made_recording

from mindeye.datasets.numbers import parse_numbers, spans
from mindeye.errors import DataError, UsageError
from mindeye.preparation.choices import choose, counts
from mindeye.preparation.config import PrepareConfig


def no_clusters(*_: object) -> tuple[list[str], list[str]]:
    raise AssertionError("clusters were not asked for")


def test_the_sources_own_test_set_is_the_default_and_val_comes_from_train(tmp_path: Path) -> None:
    choice = choose(made_recording(tmp_path), PrepareConfig(val_share=0.25), no_clusters)
    assert choice.test_set == "shared"
    assert choice.splits["test"] == [f"{i:03d}" for i in range(12)]
    assert len(choice.splits["val"]) == 12
    assert len(choice.splits["train"]) == 36
    assert not set(choice.splits["val"]) & set(choice.splits["train"])
    assert choice.rows.tolist() == list(range(120))


def test_a_session_budget_leaves_training_trials_of_its_sessions_alone(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    choice = choose(recording, PrepareConfig(sessions="1"), no_clusters)
    kept = recording.trials.iloc[choice.rows]
    is_test = kept["stimulus_id"].isin(choice.splits["test"])
    assert set(kept.loc[~is_test, "session"]) == {1}
    assert set(kept.loc[is_test, "session"]) == {1, 2, 3}
    assert len(choice.splits["test"]) == 12
    seen = set(recording.trials.loc[recording.trials["session"] == 1, "stimulus_id"])
    assert set(choice.splits["train"]) | set(choice.splits["val"]) == seen - set(
        choice.splits["test"]
    )


def test_test_trials_can_be_kept_to_the_budget(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    config = PrepareConfig(sessions="1-2", test_sessions="budget")
    choice = choose(recording, config, no_clusters)
    assert set(recording.trials.iloc[choice.rows]["session"]) == {1, 2}


def test_a_list_of_ids_is_a_test_set_and_an_unseen_id_is_named(tmp_path: Path) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("007\n\n 021 \n")
    choice = choose(made_recording(tmp_path), PrepareConfig(test=str(listed)), no_clusters)
    assert choice.splits["test"] == ["007", "021"]
    listed.write_text("007\n999\n")
    with pytest.raises(DataError, match="stimulus '999'"):
        choose(made_recording(tmp_path), PrepareConfig(test=str(listed)), no_clusters)


def test_an_unknown_test_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="column, random, clusters, every, shared"):
        choose(made_recording(tmp_path), PrepareConfig(test="shared100"), no_clusters)
    with pytest.raises(UsageError, match="no column split"):
        choose(made_recording(tmp_path), PrepareConfig(test="column"), no_clusters)


def test_counts_say_how_often_test_stimuli_were_seen(tmp_path: Path) -> None:
    recording = made_recording(tmp_path, repeats=3, sessions=1)
    rows = np.delete(np.arange(180), np.flatnonzero(recording.trials["stimulus_id"] == "003")[1:])
    fewer = recording.trials.iloc[rows].reset_index(drop=True)
    recording = made_recording(tmp_path, repeats=3, sessions=1, trials=fewer)
    facts = counts(choose(recording, PrepareConfig(), no_clusters), recording)
    assert facts["test"] == "12 stimuli, 34 trials (1 seen 1 x, 11 seen 3 x)"


@pytest.mark.parametrize(
    ("text", "numbers"), [("all", [1, 2, 4, 5]), ("1-2,5", [1, 2, 5]), (" 4 ", [4])]
)
def test_sessions_as_people_write_them(text: str, numbers: list[int]) -> None:
    assert parse_numbers(text, [1, 2, 4, 5], what="session") == numbers


@pytest.mark.parametrize("text", ["1-5", "3", "2-1", "one", "", "1;2", "-1"])
def test_sessions_that_are_not_there_or_malformed_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_numbers(text, [1, 2, 4, 5], what="session")


def test_spans_read_back_as_they_were() -> None:
    assert spans([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert parse_numbers(spans([1, 2, 3, 7]), range(1, 9), what="session") == [1, 2, 3, 7]
