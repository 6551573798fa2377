"""Regions are read from a voxel table as a person would read it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mindeye.runs.regions import random_set, regions_of


def _sizes(table: dict[str, list[object]]) -> dict[str, list[int]]:
    found = regions_of(pd.DataFrame(table))
    return {region.label: np.flatnonzero(region.inside).tolist() for region in found}


def test_labels_and_joined_labels_the_largest_first() -> None:
    found = _sizes({"roi": ["V1", "V1;V2", "V2+hV4", "V1", "", None]})
    assert found == {"V1": [0, 1, 3], "V2": [1, 2], "hV4": [2]}
    assert list(found) == ["V1", "V2", "hV4"]


@pytest.mark.parametrize("labels", [[1, 2, 2], [1.0, 2.0, None], [1.5, float("nan"), 2.0]])
def test_numbers_are_labels(labels: list[object]) -> None:
    first = f"{labels[0]:g}"
    assert _sizes({"roi": labels})[first] == [0]


def test_columns_of_membership() -> None:
    found = _sizes(
        {
            "roi_FFA": [True, False, True],
            "roi_PPA": [0, 1, 0],
            "roi_size": [3.5, 1, 0],  # no membership
            "roi_note": ["a", "b", "c"],
        }
    )
    assert found == {"FFA": [0, 2], "PPA": [1]}


def test_a_region_told_twice_is_one_region() -> None:
    found = _sizes({"roi": ["FFA", "", "", "V1"], "roi_FFA": [0, 1, 0, 0]})
    assert found == {"FFA": [0, 1], "V1": [3]}


def test_all_voxels_and_none_are_no_region() -> None:
    assert _sizes({"roi": ["nsdgeneral"] * 3, "roi_V1": [0, 0, 0]}) == {}
    assert regions_of(pd.DataFrame({"voxel": [0, 1]})) == []
    assert regions_of(pd.DataFrame({"roi": [np.nan, np.nan]})) == []


def test_a_label_becomes_one_short_line() -> None:
    (label,) = _sizes({"roi": ["a\n  b\t" + "c" * 100, ""]})
    assert label.startswith("a b ccc")
    assert len(label) == 60


def test_random_sets_are_as_large_and_come_again() -> None:
    first, again = (random_set(7, 50, np.random.default_rng(3)) for _ in range(2))
    assert first.sum() == 7
    assert np.array_equal(first, again)
    assert not np.array_equal(first, random_set(7, 50, np.random.default_rng(4)))
