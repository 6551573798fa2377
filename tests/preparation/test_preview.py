from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_recording import made_recording
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import check_subject
from mindeye.errors import MindEyeError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare
from mindeye.preparation.preview import PREVIEW, draw_preview, write_preview


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("preview")
    recording = made_recording(folder)
    voxels = recording.voxels.assign(file_noise_ceiling=np.linspace(0.1, 0.7, 30))
    return prepare(replace(recording, voxels=voxels), folder / "out")


@pytest.fixture(scope="module")
def figure(subject: Subject) -> Figure:
    return draw_preview(load_subject(subject.path))


def panel(figure: Figure, name: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == name)


def pictures_of(figure: Figure, split: str) -> list[Axes]:
    return [a for a in figure.axes if str(a.get_label()).startswith(f"{split} picture")]


def words(figure: Figure) -> str:
    texts = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        texts += [t.get_text() for t in axes.texts]
    return " ".join(" ".join(texts).split())


def heights(axes: Axes, name: str) -> list[float]:
    bars = next(c for c in axes.containers if str(c.get_label()).split(":")[0] == name)
    return [bar.get_height() for bar in bars]


def changed(subject: Subject, **facts: Any) -> Subject:
    """The subject with another record of its preparation."""
    record = {**subject.info["preparation"], **facts}
    return replace(subject, info={**subject.info, "preparation": record})


def test_prepare_leaves_a_picture_of_twelve_by_eight_inches(subject: Subject) -> None:
    with Image.open(subject.path / PREVIEW) as picture:
        assert picture.size == (1200, 800)
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_subject_is_as_sound_without_its_preview(subject: Subject, tmp_path: Path) -> None:
    assert PREVIEW not in subject.info["sha256"]
    own = prepare(made_recording(tmp_path), tmp_path / "out", preview=False)
    assert not (own.path / PREVIEW).exists()
    assert check_subject(own.path).fingerprint == own.fingerprint


def test_the_same_subject_gives_the_same_bytes(subject: Subject, tmp_path: Path) -> None:
    drawn = (subject.path / PREVIEW).read_bytes()
    write_preview(load_subject(subject.path))  # tables read back from CSV
    assert (subject.path / PREVIEW).read_bytes() == drawn
    dated = {**subject.info, "date": "2031-01-01", "machine": "other"}
    unread = np.full_like(subject.betas, np.nan)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9}):
        write_preview(replace(subject, info=dated, betas=unread))
    assert (subject.path / PREVIEW).read_bytes() == drawn
    other = prepare(made_recording(tmp_path, seed=1), tmp_path / "out")
    assert (other.path / PREVIEW).read_bytes() != drawn


def test_drawing_leaves_settings_and_open_figures_alone(subject: Subject) -> None:
    from matplotlib import pyplot

    before, figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    write_preview(subject)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == figures


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_stand_above_their_own_ids_in_their_own_split(
    subject: Subject, figure: Figure, split: str
) -> None:
    shown = pictures_of(figure, split)
    ids = [axes.get_xlabel() for axes in shown]
    assert len(set(ids)) == 8
    assert set(ids) <= set(subject.splits[split])
    for axes, stimulus_id in zip(shown, ids, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), subject.stimulus(stimulus_id))
        assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is the upper edge


def test_a_red_upper_edge_is_drawn_red_and_up(subject: Subject, tmp_path: Path) -> None:
    pictures = np.zeros((len(subject.stimuli), 16, 16, 3), np.uint8)
    pictures[:, :8, :, 0] = 255
    pictures[:, 8:, :, 2] = 255
    np.save(tmp_path / "stimuli.npy", pictures)
    own = replace(subject, path=tmp_path)
    where = pictures_of(draw_preview(own), "train")[0].get_window_extent()
    write_preview(own)
    drawn = np.asarray(Image.open(tmp_path / PREVIEW).convert("RGB"))
    column = int((where.x0 + where.x1) / 2)
    upper, lower = int(800 - where.y1) + 20, int(800 - where.y0) - 20
    assert drawn[upper, column].tolist() == [255, 0, 0]
    assert drawn[lower, column].tolist() == [0, 0, 255]


def test_bars_add_up_to_the_trials_of_each_split(subject: Subject, figure: Figure) -> None:
    axes = panel(figure, "trials")
    for name, ids in subject.splits.items():
        rows = subject.trials[subject.trials["stimulus_id"].isin(ids)]
        by_session = [int((rows["session"] == s).sum()) for s in (1, 2, 3)]
        assert heights(axes, name) == by_session
        assert f"{name}: {len(rows)}" in [t.get_text() for t in axes.get_legend().get_texts()]
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
    assert tops == subject.trials["session"].value_counts().sort_index().tolist()


def test_alignment_shows_score_lags_and_null_of_the_record(
    subject: Subject, figure: Figure
) -> None:
    record = json.loads((subject.path / "subject.json").read_text())["preparation"]["alignment"]
    axes = panel(figure, "alignment")
    points = {line.get_label(): line for line in axes.lines}
    assert points["_as they stand"].get_xydata().tolist() == [[0, record["score"]]]
    for across, label in ((True, "shifted throughout"), (False, "shifted in sessions")):
        own = [(s["lag"], s["score"]) for s in record["lags"] if s["across_sessions"] is across]
        assert len(own) == 6
        np.testing.assert_allclose(points[label].get_xydata(), own, atol=0.2)
        np.testing.assert_array_equal(points[label].get_ydata(), [score for _, score in own])
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    middle, spread = record["null_mean"], record["null_deviation"]
    np.testing.assert_allclose(
        [band.y0, band.y1], [middle - 2 * spread, middle + 2 * spread], atol=1e-9
    )
    assert f"p = {record['p_value']:.2g}" in words(figure)
    assert heights(panel(figure, "agreement"), "agreement") == [z for _, z in record["session_z"]]


def test_ceilings_count_every_voxel_and_name_both_medians(subject: Subject, figure: Figure) -> None:
    axes = panel(figure, "noise ceiling")
    measured, filed = axes.patches
    assert measured.get_data().values.sum() == filed.get_data().values.sum() == 30
    texts = [t.get_text() for t in axes.get_legend().get_texts()]
    middle = np.median(subject.voxels["noise_ceiling"])
    assert texts == [f"from repeats: median {middle:.3f}", "file's own: median 0.400"]


def test_a_ceiling_that_came_with_the_voxels_is_not_called_measured(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    voxels = recording.voxels.assign(noise_ceiling=[np.nan, *[0.25] * 29])
    own = prepare(replace(recording, voxels=voxels), tmp_path / "out", preview=False)
    axes = panel(draw_preview(own), "noise ceiling")
    texts = [t.get_text() for t in axes.get_legend().get_texts()]
    assert texts == ["given with the voxels: median 0.250"]
    assert axes.patches[0].get_data().values.sum() == 29


def test_title_and_verdicts_say_what_the_subject_says(subject: Subject, figure: Figure) -> None:
    said = words(figure)
    counts = ("120 trials", "30 voxels", "3 sessions (1-3)", "12 test")
    for part in ("subj01", "made up", *counts, "Test set: shared", "Training sessions: 1-3"):
        assert part in said
    for guard in ("leaks", "scaling", "broken voxels", "alignment"):
        assert subject.info["preparation"][guard]["verdict"] in said


def test_a_session_at_chance_and_a_missing_session_stand_out(subject: Subject) -> None:
    alignment = {**subject.info["preparation"]["alignment"], "session_z": [(1, 9.0), (3, -1.0)]}
    trials = subject.trials[subject.trials["session"] != 2]
    own = replace(changed(subject, alignment=alignment), trials=trials)
    figure = draw_preview(own)
    good, bad = panel(figure, "agreement").containers[0]
    assert good.get_facecolor() != bad.get_facecolor()
    labels = panel(figure, "trials").get_xticklabels()
    assert [label.get_text() for label in labels] == ["1", "3"]
    assert "none in session 2" in words(figure)


def test_forty_sessions_have_a_bar_each_and_labels_that_do_not_touch(subject: Subject) -> None:
    trials = subject.trials.assign(session=np.arange(120) // 3 + 1)
    record = subject.info["preparation"]["alignment"]
    alignment = {**record, "session_z": [(s, 5.0 + s % 3) for s in range(1, 41)]}
    figure = draw_preview(replace(changed(subject, alignment=alignment), trials=trials))
    for name in ("agreement", "trials"):
        axes = panel(figure, name)
        assert len(axes.containers[0]) == 40
        assert min(bar.get_window_extent().width for bar in axes.containers[0]) > 5
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(a.x1 + 2 < b.x0 for a, b in pairwise(boxes))


def without_repeats(subject: Subject) -> Subject:
    own = changed(subject, **{"noise ceiling": "not known: fewer than two stimuli were repeated"})
    return replace(own, voxels=subject.voxels[["voxel"]])


def without_test(subject: Subject) -> Subject:
    return changed(subject, alignment={"verdict": "not made (--no-alignment-test)"})


def with_far_sessions(subject: Subject) -> Subject:
    far = subject.trials["session"].map({1: 20190101, 2: 20190301, 3: 20200101})
    return replace(subject, trials=subject.trials.assign(session=far))


def without_training(subject: Subject) -> Subject:
    return replace(subject, stimuli=subject.stimuli.assign(split="test"))


def with_three_test_stimuli(subject: Subject) -> Subject:
    split = subject.stimuli["split"].to_numpy(copy=True)
    split[np.flatnonzero(split == "test")[3:]] = "left_out"
    return replace(subject, stimuli=subject.stimuli.assign(split=split))


def with_strange_words(subject: Subject) -> Subject:
    ids = {s: f"$x_{{{s}\n日本" + "y" * 60 for s in subject.stimuli["stimulus_id"]}
    return replace(
        subject,
        info={**subject.info, "source": "a $ b_{" * 90, "units": "c" * 900, "subject": "d" * 90},
        stimuli=subject.stimuli.replace({"stimulus_id": ids}),
        trials=subject.trials.replace({"stimulus_id": ids}),
    )


def with_bad_ceilings(subject: Subject) -> Subject:
    nothing = pd.Series([np.nan] * 30)
    voxels = subject.voxels.assign(noise_ceiling=nothing, file_noise_ceiling="n/a")
    return replace(subject, voxels=voxels)


def without_record(subject: Subject) -> Subject:
    return replace(subject, info={"format": 1})


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        (without_repeats, "fewer than two stimuli were repeated"),
        (without_test, "not made (--no-alignment-test)"),
        (with_far_sessions, "3 sessions (20190101, 20190301, 20200101)"),
        (without_training, "No training stimuli"),
        (with_three_test_stimuli, "3 of 3 test stimuli"),
        (with_strange_words, "a $ b_{a $ b_{"),
        (with_bad_ceilings, "Noise ceiling"),
        (without_record, "not on record"),
    ],
)
def test_edges_are_drawn_and_said(
    subject: Subject, tmp_path: Path, edge: Callable[[Subject], Subject], said: str
) -> None:
    (tmp_path / "stimuli.npy").symlink_to(subject.path / "stimuli.npy")
    own = replace(edge(subject), path=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with matplotlib.rc_context({"text.parse_math": False}):
            figure = draw_preview(own)
            boxes = text_boxes(figure)
    assert said in words(figure)
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= 1200


def text_boxes(figure: Figure) -> list[Any]:
    figure.draw_without_rendering()
    texts = [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]
    labels = [axes.xaxis.label for axes in figure.axes]
    return [t.get_window_extent() for t in [*texts, *labels] if t.get_text()]


def test_no_words_overlap(subject: Subject, figure: Figure) -> None:
    for drawn in (figure, draw_preview(without_test(subject))):
        boxes = text_boxes(drawn)
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                width = min(a.x1, b.x1) - max(a.x0, b.x0)
                height = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert width <= 1 or height <= 3, (a, b)


@pytest.mark.parametrize("shape", [(37, 90), (1, 1)])
def test_pictures_of_any_size_stay_in_their_frames(
    subject: Subject, tmp_path: Path, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(subject.stimuli), *shape, 3), dtype=np.uint8)
    np.save(tmp_path / "stimuli.npy", pictures)
    figure = draw_preview(replace(subject, path=tmp_path))
    figure.draw_without_rendering()
    for axes in pictures_of(figure, "test"):
        box = axes.get_window_extent()
        assert box.width <= 126
        assert box.height <= 118
        assert box.width / box.height == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_one_session_prepared_without_the_alignment_test_has_a_preview(tmp_path: Path) -> None:
    recording = made_recording(tmp_path, sessions=1, repeats=1)
    own = prepare(recording, tmp_path / "out", PrepareConfig(no_alignment_test=True))
    figure = draw_preview(own)
    assert "1 session (1)" in words(figure)
    assert "not made (--no-alignment-test)" in words(figure)
    assert (own.path / PREVIEW).is_file()


def test_a_failed_write_leaves_the_former_picture(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (subject.path / PREVIEW).read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(MindEyeError, match=r"preview\.png"):
        write_preview(subject)
    assert (subject.path / PREVIEW).read_bytes() == before
    assert not list(subject.path.glob(".preview*"))
