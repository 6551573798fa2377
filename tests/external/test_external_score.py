"""Claims about scoring anybody's pictures: the same whatever they came in, with all around them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mindeye.errors import DataError, UsageError
from mindeye.external import score as scoring
from mindeye.external.config import ExternalConfig, named_paths
from mindeye.external.training import nearest_by_truth
from mindeye.metrics.features import FunctionExtractor, Missing
from mindeye.metrics.picture_rows import ReferenceImages
from mindeye.metrics.pixels import pixcorr
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.table import Scored, read_rows, read_scores

RNG = np.random.default_rng(0)
SEEN = RNG.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8).repeat(6, 1).repeat(6, 2)
DRAWN = np.clip(SEEN + RNG.normal(0, 60, SEEN.shape), 0, 255).astype(np.uint8)


def networks(_: object = None) -> tuple[list[Any], list[Missing]]:
    """Stand in for the paper's networks under names of their own; one is missing."""
    small = FunctionExtractor("means", lambda x: x.mean(dim=3).flatten(1))
    far = FunctionExtractor("edges", lambda x: x.diff(dim=3).flatten(1), "distance")
    return [small, far], [Missing("swav", "swav.pth is not here", "fetch it by this command")]


@pytest.fixture(autouse=True)
def _with_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "available_extractors", networks)


def folder(path: Path, pictures: np.ndarray[Any, Any]) -> Path:
    path.mkdir()
    for row, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"{row}.png")
    return path


def config(tmp_path: Path, **changes: Any) -> ExternalConfig:
    if not (tmp_path / "seen").exists():
        folder(tmp_path / "seen", SEEN)
        folder(tmp_path / "ours", DRAWN)
    fields: dict[str, Any] = {
        "systems": (("ours", tmp_path / "ours"),),
        "stimuli": tmp_path / "seen",
        "out": tmp_path / "out",
        "size": 24,
        "resamples": 50,
    }
    return ExternalConfig(**{**fields, **changes})


def scored(made: ExternalConfig) -> tuple[list[Scored], list[str]]:
    told: list[str] = []
    return scoring.evaluate_pictures(made, tell=told.append), told


def values(rows: list[Scored], system: str) -> dict[str, float]:
    return {one.row.metric: one.row.value for one in rows if one.row.system == system}


def test_the_same_pictures_score_the_same_from_a_folder_npy_and_pt(tmp_path: Path) -> None:
    unit = torch.from_numpy(DRAWN).permute(0, 3, 1, 2).float() / 255
    np.save(tmp_path / "a.npy", DRAWN)
    torch.save(unit, tmp_path / "all_recons.pt")
    systems = [("npy", "a.npy"), ("pt", "all_recons.pt"), ("png", "ours")]
    made = config(tmp_path, systems=tuple((n, tmp_path / p) for n, p in systems))
    rows, _ = scored(made)
    expected = values(rows, "png")
    assert set(expected) >= {"PixCorr", "SSIM", "two_way_means", "distance_edges"}
    assert values(rows, "npy") == expected
    assert values(rows, "pt") == expected
    by_hand = pixcorr(unit, torch.from_numpy(SEEN).permute(0, 3, 1, 2).float() / 255, size=24)
    assert expected["PixCorr"] == pytest.approx(by_hand.mean(), abs=1e-12)


def test_pairing_by_name_scores_the_right_pairs(tmp_path: Path) -> None:
    rows, _ = scored(config(tmp_path))
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for row, picture in enumerate(DRAWN):
        Image.fromarray(picture).save(renamed / f"z{row}.png")
    Image.fromarray(DRAWN[0]).save(renamed / "z9.png")
    (renamed / "z0.png").unlink()
    wrong, _ = scored(config(tmp_path, systems=(("ours", renamed),)))
    assert values(wrong, "ours")["PixCorr"] < values(rows, "ours")["PixCorr"] / 2


def test_the_files_hold_scores_per_stimulus_conversions_and_what_is_missing(tmp_path: Path) -> None:
    Image.fromarray(DRAWN[2]).convert("L").save(tmp_path / "grey.png")
    made = config(tmp_path)
    (tmp_path / "grey.png").replace(tmp_path / "ours" / "2.png")
    rows, told = scored(made)
    content = json.loads((made.out / "metrics.json").read_text())
    assert any("2.png) are grey" in said for said in content["conversions"])
    assert any("2.png) are grey" in line for line in told)
    assert content["missing"][0]["metric"] == "distance_swav"
    assert any("fetch it by this command" in line for line in told)
    assert content["k"] == 1
    scores = read_scores(made.out)
    one = scores[scores.metric == "PixCorr"]
    assert list(one.stimulus_id) == [str(i) for i in range(6)]
    assert one.value.mean() == pytest.approx(values(rows, "ours")["PixCorr"], abs=1e-12)
    assert [row.metric for row in read_rows(made.out / "metrics.json")] == [
        one.row.metric for one in rows
    ]
    with Image.open(made.out / "pictures.png") as strip:
        assert strip.width > 6 * 128


def test_the_table_on_the_terminal_has_every_number_and_what_is_beside_it(tmp_path: Path) -> None:
    rows, told = scored(config(tmp_path, k=16))
    head = next(i for i, line in enumerate(told) if line.startswith("system"))
    assert told[head].split() == [
        "system",
        "metric",
        "value",
        "interval",
        "floor",
        "chance",
        "n",
        "k",
    ]
    for (row, _), line in zip(rows, told[head + 1 :], strict=True):
        words = line.split()
        assert words[:3] == [row.system, row.metric, f"{row.value:.4f}"]
        assert f"{row.floor:.4f}" in words
        assert words[-2:] == ["6", "16"]
    assert len({len(line) for line in told[head + 1 :]}) == 1


def test_training_pictures_stand_beside_every_row(tmp_path: Path) -> None:
    training = np.concatenate([255 - SEEN, SEEN[::-1] // 2, 255 - SEEN])
    np.save(tmp_path / "training.npy", training)
    rows, told = scored(config(tmp_path, training_pictures=tmp_path / "training.npy"))
    for row, _ in rows:
        assert set(row.references) == {"random_training", "nearest_training_true"}
    beside = {one.row.metric: one.row.references for one in rows}
    # Half as bright is the same picture to a correlation.
    assert beside["PixCorr"]["nearest_training_true"] == pytest.approx(1, abs=1e-3)
    assert beside["PixCorr"]["random_training"] < 0.5
    assert any("by cosine of" in line for line in told)
    assert not any("WARNING" in line for line in told)


def test_stimuli_among_the_training_pictures_are_found(tmp_path: Path) -> None:
    np.save(tmp_path / "training.npy", np.concatenate([255 - SEEN, SEEN[3:4]]))
    _, told = scored(config(tmp_path, training_pictures=tmp_path / "training.npy"))
    assert any("WARNING: 1 of 6" in line and "(first 3)" in line for line in told)


@pytest.mark.parametrize("n", [3, 64, 65, 150])
def test_the_nearest_training_picture_is_that_of_the_whole_table(n: int) -> None:
    rng = torch.Generator().manual_seed(n)
    training, stimuli = torch.rand(n, 3, 8, 8, generator=rng), torch.rand(5, 3, 8, 8, generator=rng)
    extractor = FunctionExtractor("pixels", lambda x: x.flatten(1) - 0.5)
    found = nearest_by_truth(
        n, lambda rows: training[list(rows)], ReferenceImages(stimuli, [extractor]), extractor
    )
    flat = [torch.nn.functional.normalize(x.flatten(1) - 0.5, dim=1) for x in (stimuli, training)]
    assert found.tolist() == (flat[0] @ flat[1].T).argmax(dim=1).tolist()


def test_one_picture_has_no_two_way_no_interval_and_no_floor_and_says_so(tmp_path: Path) -> None:
    for name, pictures in (("s", SEEN), ("r", DRAWN)):
        np.save(tmp_path / f"{name}.npy", pictures[:1])
    made = config(tmp_path, systems=(("one", tmp_path / "r.npy"),), stimuli=tmp_path / "s.npy")
    rows, told = scored(made)
    assert [one.row.metric for one in rows] == ["PixCorr", "SSIM", "distance_edges"]
    for row, _ in rows:
        assert (row.low, row.high, row.floor) == (None, None, None)
        assert "one picture" in row.note
    assert any("two_way_means" in line and line.startswith("left out") for line in told)


def test_embeddings_give_retrieval_in_both_directions(tmp_path: Path) -> None:
    target = RNG.standard_normal((6, 3, 5)).astype(np.float32)
    predicted = target + RNG.standard_normal(target.shape).astype(np.float32)
    np.save(tmp_path / "p.npy", predicted)
    np.save(tmp_path / "t.npy", target)
    made = config(tmp_path, predicted=tmp_path / "p.npy", target=tmp_path / "t.npy")
    found = values(scored(made)[0], "ours")
    flat = [torch.from_numpy(x).flatten(1) for x in (predicted, target)]
    expected = values(retrieval_rows("ours", *flat, rng=np.random.default_rng(1)), "ours")
    assert {k: v for k, v in found.items() if "_to_" in k} == expected
    published = dataclasses.replace(made, as_published=True)
    notes = [one.row.note for one in scored(published)[0]]
    assert any("published as" in note for note in notes)


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        (np.zeros((5, 4), np.float32), "row i of both"),
        (np.full((6, 4), np.nan, np.float32), "row 0 holds NaN"),
        (np.zeros((6, 4), np.int64), "embeddings are float"),
        (np.zeros(6, np.float32), "(S, D) or (S, K, D)"),
    ],
)
def test_bad_embeddings_are_named(
    tmp_path: Path, predicted: np.ndarray[Any, Any], words: str
) -> None:
    np.save(tmp_path / "p.npy", predicted)
    np.save(tmp_path / "t.npy", RNG.standard_normal((6, 4)).astype(np.float32))
    made = config(tmp_path, predicted=tmp_path / "p.npy", target=tmp_path / "t.npy")
    with pytest.raises(DataError) as caught:
        scored(made)
    assert words in str(caught.value)


def test_nothing_is_written_where_pictures_are_refused(tmp_path: Path) -> None:
    made = config(tmp_path)
    (tmp_path / "ours" / "3.png").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"3.png is not a readable image"):
        scored(made)
    assert not made.out.exists()


def test_a_system_more_does_not_move_another_s_numbers(tmp_path: Path) -> None:
    made = config(tmp_path)
    alone, _ = scored(made)
    both, _ = scored(
        dataclasses.replace(made, systems=(*made.systems, ("again", tmp_path / "seen")))
    )
    assert [one.row for one in both if one.row.system == "ours"] == [one.row for one in alone]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"systems": ()}, "at least one"),
        ({"systems": (("a", Path("x")), ("a", Path("y")))}, "two systems are called 'a'"),
        ({"systems": (("seen", Path("x")),)}, "no system may be called"),
        ({"predicted": Path("x")}, "come together"),
        ({"range": "0..2"}, "--range 0..2 is unknown"),
        ({"alpha": "pink"}, "--alpha pink is unknown"),
        ({"size": 5}, "--size must be"),
        ({"resamples": 0}, "--resamples must be at least 1"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"k": 0}, "--k must be at least 1"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(tmp_path, **changes)
    assert words in str(caught.value)


def test_scores_of_a_run_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="is a run"):
        config(tmp_path, out=tmp_path)


def test_names_of_systems_are_read_off_words(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    words = ["ours=x/y.pt", "x/recons.npy", "x/folder/", str(tmp_path / "a=b")]
    assert named_paths(words) == (
        ("ours", Path("x/y.pt")),
        ("recons", Path("x/recons.npy")),
        ("folder", Path("x/folder")),
        ("a=b", tmp_path / "a=b"),
    )
    for word in ("", "=x", "x=", "a\nb=c"):
        with pytest.raises(UsageError):
            named_paths([word])
