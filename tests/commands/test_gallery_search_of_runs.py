"""A run asks a gallery, and what it finds is scored like any other reconstruction."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye.cli import main
from mindeye.commands.gallery_of_run import RunSearch, ask
from mindeye.config.settings import run_config
from mindeye.data.scenes import draw_scene, make_scene
from mindeye.errors import DataError
from mindeye.gallery.gallery import Gallery
from mindeye.metrics.table import read_rows
from mindeye.runs import open_run
from small_zoo_run import WORDS

POOLED = [
    "targets.tokens=pooled",
    "targets.generator=none",
    "low_enabled=false",
    *[word for word in WORDS if word.startswith(("high.", "evaluate."))],
]
NEW = 12


@pytest.fixture(scope="module")
def made(small_subject, tmp_path_factory) -> Path:
    """RUN of all tokens, POOLED run, and G: 20 test pictures and 12 new scenes, by the zoo."""
    folder = tmp_path_factory.mktemp("gallery")
    common = ["run", "demo", f"--subject-dir={small_subject.path}", "--until=predict"]
    assert main([*common, f"--out={folder / 'run'}", *WORDS]) == 0
    assert main([*common, f"--out={folder / 'pooled'}", *POOLED]) == 0
    (folder / "p").mkdir()
    ids = small_subject.splits["test"]
    for name, picture in zip(ids, small_subject.pictures_of(ids), strict=True):
        Image.fromarray(picture).save(folder / "p" / f"{name}.png")
    for i in range(NEW):
        Image.fromarray(draw_scene(make_scene(i, 5))).save(folder / "p" / f"new{i}.png")
    build = ["gallery", "build", str(folder / "p"), f"--out={folder / 'g'}", "--encoder=zoo"]
    assert main(build) == 0
    return folder


@pytest.fixture
def knowing(made, tmp_path) -> Path:
    """A run whose tokens are the true ones, but for token 0, which is the same for all."""
    run = tmp_path / "knowing"
    shutil.copytree(made / "run", run)
    work = open_run(run, run_config)
    tokens = np.array(work.embeddings("tokens")[work.rows(work.test_ids)], dtype=np.float32)
    tokens[:, 0] = tokens[0, 0]
    np.save(run / "predict" / "contrastive.npy", tokens)
    return run


def search(gallery, run, *more):
    return main(["gallery", "search", str(gallery), f"--query={run}", *more])


def test_the_second_order_finds_what_token_0_does_not_know(made, knowing, tmp_path, capsys):
    out, told = tmp_path / "out", tmp_path / "a.json"
    assert search(made / "g", knowing, "--k=32", f"--json={told}", f"--out={out}") == 0
    assert "20 of 20 are the very picture seen" in capsys.readouterr().out
    answers = json.loads(told.read_text())
    ids = json.loads((out / "stimulus_ids.json").read_text())
    assert [a["query"] for a in answers["queries"]] == ids
    for answer in answers["queries"]:
        pick = answer["pick"]
        assert pick["id"] == f"{answer['query']}.png"
        assert answer["second_ranks"][pick["rank"]] == 0
        assert answer["second_scores"][pick["rank"]] == max(answer["second_scores"])
        assert answer["id"][pick["rank"]] == pick["id"]
        assert answer["scores"] == sorted(answer["scores"], reverse=True)
    # every query asked by the same token: the first order is the same for all
    assert len({tuple(a["rows"]) for a in answers["queries"]}) == 1
    assert search(made / "g", knowing, "--second-order=none", f"--json={told}") == 0
    first = json.loads(told.read_text())
    assert first["second_order"] is None
    assert len({a["pick"]["id"] for a in first["queries"]}) == 1


def test_what_was_retrieved_is_scored_as_a_reconstruction(made, knowing, tmp_path):
    out, scored = tmp_path / "out", tmp_path / "scored"
    pictures = tmp_path / "strip.png"
    assert search(made / "g", knowing, "--k=32", f"--out={out}", f"--pictures={pictures}") == 0
    retrieved, seen = np.load(out / "retrieved.npy"), np.load(out / "stimuli.npy")
    assert retrieved.dtype == np.uint8
    np.testing.assert_array_equal(retrieved, seen)
    assert pictures.read_bytes() == (out / "strip.png").read_bytes()
    command = ["evaluate", "--reconstructions", f"retrieved={out / 'retrieved.npy'}"]
    command += [f"--stimuli={out / 'stimuli.npy'}", f"--out={scored}", "--size=0"]
    assert main([*command, "--resamples=20"]) == 0
    rows = {r.metric: r for r in read_rows(scored / "metrics.json") if r.system == "retrieved"}
    assert rows["PixCorr"].value == pytest.approx(1)
    assert rows["SSIM"].value == pytest.approx(1)
    # a second call replaces what an earlier one left, and nothing else
    assert search(made / "g", knowing, "--k=1", f"--out={out}") == 0
    assert not np.array_equal(np.load(out / "retrieved.npy"), seen)
    assert search(made / "g", knowing, f"--out={tmp_path}") == 2


def test_a_pooled_run_gives_the_first_order(made, knowing):
    gallery = Gallery.open(made / "g")
    work, other = open_run(knowing, run_config), open_run(made / "pooled", run_config)
    alone = ask(gallery, other, RunSearch(k=5))
    assert alone.second is None
    assert "predicts one vector a picture" in alone.notes[-1]
    how = RunSearch(k=5, pooled_run=made / "pooled")
    both = ask(gallery, work, how)
    np.testing.assert_array_equal(both.matches.rows, alone.matches.rows)
    predicted = np.load(made / "pooled" / "predict" / "contrastive.npy")[:, 0]
    unit = predicted / np.linalg.norm(predicted, axis=1, keepdims=True)
    scores = unit @ gallery.vectors.take(np.arange(len(gallery))).T
    np.testing.assert_array_equal(both.matches.rows[:, 0], scores.argmax(axis=1))
    true = np.array([f"{name}.png" for name in work.test_ids])
    ids = gallery.table(both.matches.rows)["id"].to_numpy().reshape(-1, 5)
    hit = (ids == true[:, None]).any(axis=1)
    assert hit.any()  # the picture seen is picked wherever the pooled run found it
    picked = gallery.table(both.rows)["id"].to_numpy()
    np.testing.assert_array_equal(picked == true, hit)
    again = ask(gallery, work, how)
    np.testing.assert_array_equal(again.second.scores, both.second.scores)


def test_ridge_looks_up_by_its_own_token_0(made):
    gallery, work = Gallery.open(made / "g"), open_run(made / "run", run_config)
    found = ask(gallery, work, RunSearch(k=3, first_order="ridge"))
    queries = np.load(made / "run" / "ridge" / "tokens.npy")[:, 0]
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores = queries @ gallery.vectors.take(np.arange(len(gallery))).T
    rows = np.argsort(-scores, axis=1)[:, :3]
    np.testing.assert_array_equal(found.matches.rows, rows)
    assert not any("token 0" in note for note in found.notes)
    assert found.second is not None


def test_a_pooled_run_of_another_subject_is_refused(made):
    work = open_run(made / "run", run_config)
    info = {**work.subject.info, "fingerprint": "another"}
    work = replace(work, subject=replace(work.subject, info=info))
    with pytest.raises(DataError, match="must be of the same prepared subject"):
        ask(Gallery.open(made / "g"), work, RunSearch(pooled_run=made / "pooled"))


def test_without_a_class_token_the_mean_of_tokens_looks_up(small_subject, tmp_path):
    words = [w for w in POOLED if not w.startswith("targets.")]
    words += ["targets.encoder=pixels:16:8", "targets.generator=none"]
    common = ["run", "demo", f"--subject-dir={small_subject.path}", "--until=predict"]
    assert main([*common, f"--out={tmp_path / 'run'}", *words]) == 0
    work = open_run(tmp_path / "run", run_config)
    tokens = np.array(work.embeddings("tokens")[work.rows(work.test_ids)])
    np.save(tmp_path / "run" / "predict" / "contrastive.npy", tokens)
    np.save(tmp_path / "e.npy", tokens.mean(axis=1))
    pictures = tmp_path / "p"
    pictures.mkdir()
    for i, picture in enumerate(small_subject.pictures_of(work.test_ids)):
        Image.fromarray(picture).save(pictures / f"{i}.png")
    table = {"id": work.test_ids, "where": [f"{i}.png" for i in range(len(tokens))]}
    pd.DataFrame(table).to_parquet(tmp_path / "e.parquet")
    assert main(["gallery", "build", f"{tmp_path / 'e.npy'}", f"--out={tmp_path / 'g'}"]) == 0
    found = ask(Gallery.open(tmp_path / "g"), work, RunSearch(k=4, root=pictures))
    np.testing.assert_array_equal(found.matches.rows[:, 0], np.arange(len(tokens)))
    np.testing.assert_array_equal(found.rows, np.arange(len(tokens)))
    assert any("no class token" in note for note in found.notes)


def test_a_gallery_of_another_encoder_is_refused_and_both_are_named(made, tmp_path, capsys):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).standard_normal((9, 64)))
    build = ["gallery", "build", str(tmp_path / "e.npy"), f"--out={tmp_path / 'g'}"]
    assert main([*build, "--encoder=some/other-model"]) == 0
    assert search(tmp_path / "g", made / "run") == 2
    told = capsys.readouterr().err
    assert "zoo_clip_pooled" in told
    assert "other-model_pooled" in told
    np.save(tmp_path / "w.npy", np.ones((9, 768), dtype=np.float32))
    assert main([*build[:2], str(tmp_path / "w.npy"), f"--out={tmp_path / 'w'}"]) == 0
    assert search(tmp_path / "w", made / "run") == 2
    assert "width 64 (zoo_clip_pooled)" in capsys.readouterr().err


def test_embeddings_alone_give_the_first_order_and_say_so(made, tmp_path, capsys):
    gallery = Gallery.open(made / "g")
    np.save(tmp_path / "e.npy", gallery.vectors.take(np.arange(len(gallery))))
    build = ["gallery", "build", str(tmp_path / "e.npy"), f"--out={tmp_path / 'g'}"]
    assert main(build) == 0
    assert search(tmp_path / "g", made / "run", "--k=99", f"--json={tmp_path / 'a.json'}") == 0
    told = capsys.readouterr().out
    assert "no second order: the gallery is of embeddings" in told
    assert "does not tell its encoder" in told
    assert "k is 99, the gallery has 32" in told
    assert "first order by token 0" in told
    answers = json.loads((tmp_path / "a.json").read_text())["queries"]
    assert all(a["pick"]["rank"] == 0 and "second_scores" not in a for a in answers)
    assert search(tmp_path / "g", made / "run", f"--out={tmp_path / 'o'}") == 2
    assert "name the folder of the pictures with --root" in capsys.readouterr().err


def test_a_neighbour_whose_picture_has_gone_is_named(made, knowing, tmp_path, capsys):
    shutil.copytree(made / "p", tmp_path / "p")
    (tmp_path / "p" / "new3.png").unlink()
    assert search(made / "g", knowing, "--k=32", f"--root={tmp_path / 'p'}") == 2
    assert "'new3.png') is missing or not readable" in capsys.readouterr().err


def test_flags_of_a_run_are_refused_with_other_queries(made, tmp_path, capsys):
    picture = next((made / "p").glob("*.png"))
    assert search(made / "g", picture, f"--out={tmp_path / 'o'}") == 2
    assert "--out goes with a run" in capsys.readouterr().err
    assert search(made / "g", tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
