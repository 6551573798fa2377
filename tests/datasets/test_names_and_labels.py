"""Names of pictures and labels of regions: the right ones, however they were written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from mindeye.datasets.bids_events import EventsConfig, _read_run
from mindeye.datasets.file_formats import load_mat, whole_labels
from mindeye.datasets.picture_folder import find_pictures
from mindeye.errors import DataError


def test_a_picture_is_found_in_any_unicode_form_and_with_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / (unicodedata.normalize("NFD", "\u00e9lan") + ".png")
    file.touch()
    composed = unicodedata.normalize("NFC", "\u00e9lan")
    for name in (composed, unicodedata.normalize("NFD", composed), f"{composed}.png"):
        assert find_pictures(tmp_path, [name]) == {name: file}


def test_two_files_of_one_name_in_two_unicode_forms_are_refused(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / (unicodedata.normalize(form, "\u00e9") + ".png")).touch()
    with pytest.raises(DataError, match="several images"):
        find_pictures(tmp_path, ["\u00e9"])


def test_labels_that_went_through_floats_are_whole_again() -> None:
    true = np.array([[-1, 0, 1, 7, 0]], dtype=np.float32)
    moved = true + np.float32(1.5e-5)
    np.testing.assert_array_equal(whole_labels(moved), true)
    between = np.array([0.0, 0.4, 1.0], dtype=np.float32)
    np.testing.assert_array_equal(whole_labels(between), between)


def test_an_event_without_an_onset_is_no_trial(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\tstim_file\n0\t2\ta.png\nn/a\tn/a\tb.png\n4\t2\tc.png\n")
    trials = _read_run(path, EventsConfig())
    assert trials["stimulus_id"].tolist() == ["a", "c"]
    path.write_text("onset\tduration\tstim_file\nsoon\t2\ta.png\n")
    with pytest.raises(DataError, match="onset 'soon' is no number"):
        _read_run(path, EventsConfig())


def test_a_matlab_file_of_version_7_3_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "design.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    with pytest.raises(DataError, match=r"MATLAB 7\.3 .*-v7"):
        load_mat(path, ["masterordering"])
