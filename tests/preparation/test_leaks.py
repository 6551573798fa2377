"""Copies of pictures and statistics that cross a split are found; distinct pictures are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindeye.data.preprocess import fit_scaler
from mindeye.data.scenes import draw_scenes, make_scenes
from mindeye.data.simulate import simulate_subject
from mindeye.errors import LeakageError
from mindeye.preparation.leaks import (
    check_leaks,
    copies_to_drop,
    duplicates_error,
)
from mindeye.preparation.scaling_leak import scaling_leak
from small_simulation import SMALL

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PHOTOGRAPHS = SHARED / "imagenet_sample_128" / "images.npz"
Edit = Callable[[np.ndarray], np.ndarray]


def jpeg(picture: np.ndarray, quality: int = 50) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def shrink_and_enlarge(picture: np.ndarray) -> np.ndarray:
    size = picture.shape[0]
    small = Image.fromarray(picture).resize(
        (size * 5 // 8, size * 5 // 8), Image.Resampling.LANCZOS
    )
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


EDITS: dict[str, Edit] = {
    "same": lambda p: p,
    "jpeg": jpeg,
    "resized": shrink_and_enlarge,
    "brighter": lambda p: np.clip(p * 1.1, 0, 255).astype(np.uint8),
    "darker": lambda p: (p * 0.85).astype(np.uint8),
    "lighter by 20": lambda p: np.clip(p.astype(int) + 20, 0, 255).astype(np.uint8),
    "mirrored jpeg": lambda p: jpeg(np.ascontiguousarray(p[:, ::-1])),
}


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return draw_scenes(make_scenes(400, 77))


def split_ids(count: int) -> tuple[list[str], dict[str, list[str]]]:
    """Ids p0 ...: the first tenth test, the next tenth val."""
    ids = [f"p{i}" for i in range(count)]
    tenth = count // 10
    return ids, {"test": ids[:tenth], "val": ids[tenth : 2 * tenth], "train": ids[2 * tenth :]}


def test_distinct_scenes_are_not_flagged(scenes: np.ndarray) -> None:
    ids, splits = split_ids(len(scenes))
    assert check_leaks(scenes, ids, splits) == []


def photographs() -> np.ndarray:
    if not PHOTOGRAPHS.is_file():
        pytest.skip("no shared folder with photographs beside the repository")
    with np.load(PHOTOGRAPHS, allow_pickle=False) as file:
        data, offset = file["jpeg"].tobytes(), file["offset"]
    pictures = [
        Image.open(io.BytesIO(data[a:b])).convert("RGB").resize((128, 128))
        for a, b in pairwise(offset)
    ]
    return np.stack([np.asarray(p) for p in pictures])


def test_distinct_photographs_are_not_flagged_and_copies_of_each_are() -> None:
    pictures = photographs()
    ids = [f"p{i}" for i in range(len(pictures))]
    half = len(ids) // 2
    assert check_leaks(pictures, ids, {"test": ids[:half], "train": ids[half:]}) == []
    pictures = pictures[::7]
    count = len(pictures)
    both = np.concatenate([pictures, np.stack([jpeg(p) for p in pictures])])
    names = [f"{kind}{i}" for kind in ("p", "copy") for i in range(count)]
    found = check_leaks(both, names, {"test": names[:count], "train": names[count:]})
    assert [(f.original, f.copy) for f in found] == [(f"p{i}", f"copy{i}") for i in range(count)]


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_across_splits_is_named_with_its_original(scenes: np.ndarray, edit: str) -> None:
    pictures = scenes.copy()
    ids, splits = split_ids(len(pictures))
    wanted = {("test", 3, "train", 100), ("test", 7, "val", 50), ("val", 60, "train", 300)}
    for _, original, _, copy in wanted:
        pictures[copy] = EDITS[edit](pictures[original])
    found = check_leaks(pictures, ids, splits)
    assert {(f.original_split, int(f.original[1:]), f.copy_split, int(f.copy[1:])) for f in found} \
        == wanted  # fmt: skip
    assert all(f.mirrored == ("mirrored" in edit) for f in found)
    assert all(0 <= f.distance < 0.25 for f in found)
    assert copies_to_drop(found) == ["p100", "p300", "p50"]


def test_copies_of_another_size_are_found_by_their_content() -> None:
    large = draw_scenes(make_scenes(30, 5), size=160)
    # The same scenes, drawn small and enlarged: other pixels throughout.
    small = draw_scenes(make_scenes(30, 5), size=96)
    enlarged = [np.asarray(Image.fromarray(p).resize((160, 160))) for p in small]
    ids = [f"p{i}" for i in range(60)]
    found = check_leaks(
        np.concatenate([large, np.stack(enlarged)]), ids, {"test": ids[:30], "train": ids[30:]}
    )
    assert [(int(f.original[1:]), int(f.copy[1:])) for f in found] == [
        (i, i + 30) for i in range(30)
    ]


def test_copies_within_one_split_are_no_leak(scenes: np.ndarray) -> None:
    pictures = scenes.copy()
    pictures[301] = pictures[300]
    ids, splits = split_ids(len(pictures))
    assert check_leaks(pictures, ids, splits) == []


def test_blank_pictures_are_copies_of_one_another_but_not_of_another_colour() -> None:
    pictures = np.empty((4, 20, 30, 3), dtype=np.uint8)
    pictures[:2] = 128
    pictures[2:] = (200, 30, 30)
    pictures[1, 4, 5] = 131  # a speck
    ids = ["a", "b", "c", "d"]
    found = check_leaks(pictures, ids, {"test": ["a", "c"], "train": ["b", "d"]})
    assert [(f.original, f.copy) for f in found] == [("a", "b"), ("c", "d")]
    grey_and_red = check_leaks(pictures, ids, {"test": ["a"], "train": ["c"]})
    assert grey_and_red == []


def test_a_scene_with_one_object_recoloured_is_another_picture() -> None:
    scene = make_scenes(1, 3)[0]
    thing = scene.objects[0]
    other = replace(thing, colour="blue" if thing.colour != "blue" else "red")
    changed = replace(scene, objects=(other, *scene.objects[1:]))
    pictures = draw_scenes([scene, changed])
    assert check_leaks(pictures, ["a", "b"], {"test": ["a"], "train": ["b"]}) == []


def test_the_error_names_pair_count_and_ways_out(scenes: np.ndarray) -> None:
    pictures = scenes.copy()
    pictures[100] = pictures[3][:, ::-1]
    pictures[101] = pictures[4]
    ids, splits = split_ids(len(pictures))
    text = str(duplicates_error(check_leaks(pictures, ids, splits)))
    for part in ("'p100' of train", "'p3' of test", "mirrored", "2 such", "--duplicates drop",
                 "--duplicates allow"):  # fmt: skip
        assert part in text, text


def test_a_stimulus_in_two_splits_is_a_leak(scenes: np.ndarray) -> None:
    with pytest.raises(LeakageError, match="'p3' is in both test and train"):
        check_leaks(scenes[:5], [f"p{i}" for i in range(5)], {"test": ["p3"], "train": ["p3"]})


def raw_betas(held_out: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sessions = np.repeat([1, 2, 5], 100)
    betas = rng.standard_normal((300, 40)) * 3 + 500 + sessions[:, None]
    training = np.arange(300) % held_out != 0
    return betas.astype(np.float32), sessions, training


@pytest.mark.parametrize("zscore", ["session", "train"])
def test_scaling_by_training_trials_alone_passes(zscore: str) -> None:
    betas, sessions, training = raw_betas()
    scaler = fit_scaler(betas, sessions, training, zscore=zscore)  # type: ignore[arg-type]
    assert scaler is not None
    scaled = scaler.apply(betas, sessions)
    assert scaling_leak(scaled, sessions, training, zscore) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("zscore", ["session", "train"])
@pytest.mark.parametrize("held_out", [10, 100])
def test_a_single_held_out_trial_in_the_statistics_is_a_leak(zscore: str, held_out: int) -> None:
    betas, sessions, training = raw_betas(held_out)
    scaler = fit_scaler(betas, sessions, np.ones(300, bool), zscore=zscore)  # type: ignore[arg-type]
    assert scaler is not None
    error = scaling_leak(scaler.apply(betas, sessions), sessions, training, zscore)  # type: ignore[arg-type]
    assert isinstance(error, LeakageError)
    assert ("session 1" if zscore == "session" else "all sessions") in str(error)


def test_only_the_session_that_leaks_is_named() -> None:
    betas, sessions, training = raw_betas()
    fitted_on = training | (sessions == 5)
    scaler = fit_scaler(betas, sessions, fitted_on, zscore="session")
    assert scaler is not None
    error = scaling_leak(scaler.apply(betas, sessions), sessions, training, "session")
    assert "session 5" in str(error)
    # With session 5 held out as a whole there is nothing to compare it with.
    outside = training & (sessions != 5)
    assert scaling_leak(scaler.apply(betas, sessions), sessions, outside, "session") is None


def test_one_voxel_left_unscaled_is_found() -> None:
    betas, sessions, training = raw_betas()
    scaler = fit_scaler(betas, sessions, training, zscore="session")
    assert scaler is not None
    scaled = scaler.apply(betas, sessions)
    scaled[:, 7] += 0.1
    assert "voxel 7" in str(scaling_leak(scaled, sessions, training, "session"))


def test_a_simulated_subject_passes_and_its_betas_on_all_trials_do_not(tmp_path: Path) -> None:
    subject = simulate_subject(SMALL, 4, tmp_path / "subject")
    training = subject.trials["stimulus_id"].isin(subject.splits["train"]).to_numpy()
    sessions = subject.trials["session"].to_numpy()
    assert scaling_leak(subject.betas, sessions, training, "session") is None
    everything = np.ones(len(sessions), dtype=bool)
    scaler = fit_scaler(subject.betas, sessions, everything, zscore="session")
    assert scaler is not None
    leaked = scaler.apply(subject.betas, sessions)
    assert scaling_leak(leaked, sessions, training, "session") is not None
    assert scaling_leak(leaked, sessions, training, "none") is None
