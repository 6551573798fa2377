"""Runs with a part left out or exchanged, from end to end: what is there is shown, and sound."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mindeye.cli import main
from mindeye.config.settings import run_config
from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from mindeye.files import read_json
from mindeye.metrics.systems import references
from mindeye.runs import STAGES, run_all, start_run
from small_simulation import SMALL
from test_pipeline import PIXELS, ZOO

FEW = ["evaluate.resamples=50", "high.optim.epochs=3", "low.optim.epochs=2"]
POOLED = [
    *ZOO, *FEW, "targets.tokens=pooled", "targets.generator=none", "low_enabled=false"
]  # fmt: skip


def _run(subject: Subject, folder: Path, words: list[str]) -> Path:
    run_all(start_run(run_config({}, words), subject.path, folder))
    return folder


def _found(folder: Path) -> set[tuple[str, str]]:
    return {(r["metric"], r["system"]) for r in read_json(folder / "metrics.json")["rows"]}


BESIDE = {*references(), "knn", "knn_centred", "ridge_restored", "ridge_centred"}
"""Stand-ins and baselines that every run has."""


def _systems(folder: Path, metric: str) -> set[str]:
    """Systems that the variant makes a difference to."""
    return {system for name, system in _found(folder) if name == metric} - BESIDE


def _logged(folder: Path) -> set[str]:
    """Names of what the high-level training logged."""
    return set(re.findall(r'"name": "([^"]+)"', (folder / "high" / "log.jsonl").read_text()))


def _sound_page(folder: Path) -> str:
    """Read the page; every link in it leads somewhere and no picture or number is missing."""
    page = (folder / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    body = page.partition("</style>")[2]
    for target in re.findall(r'href="#([^"]*)"', body):
        assert f'id="{target}"' in body, f"a link leads to #{target}, which is not there"
    for source in re.findall(r'src="([^"]*)"', body):
        assert source.startswith("data:image/"), source
        assert len(source) > 100
    for tag in ("section", "figure", "div", "dl", "table", "ul"):
        opened = len(re.findall(rf"<{tag}[ >]", body))
        assert opened == body.count(f"</{tag}>"), f"{tag} is left open"
    for section in re.findall(r"<section.*?</section>", body, flags=re.DOTALL):
        text = re.sub(r"<h2>.*?</h2>|<[^>]*>", "", section)
        assert text.strip(), "a section holds a heading alone"
    visible = re.sub(r"<details>.*?</details>", "", body, flags=re.DOTALL)
    assert not re.search(r">\s*(None|nan|undefined)\s*<", visible)
    return page


def _sections(page: str) -> set[str]:
    return set(re.findall(r'<section id="(\w+)"', page))


def _tile_systems(page: str) -> list[str]:
    return re.findall(r'<div class="tile">\s*<h2>.*?<span>(.*?)</span>', page, flags=re.DOTALL)


def test_the_low_level_alone(small_subject: Subject, tmp_path: Path) -> None:
    folder = _run(small_subject, tmp_path / "run", [*PIXELS, "high_enabled=false"])
    assert not (folder / "high" / "log.jsonl").exists()
    assert not (folder / "predict" / "contrastive.npy").exists()
    assert {"low", "ridge"} <= _systems(folder, "SSIM")
    assert "high" not in _systems(folder, "SSIM")
    assert _systems(folder, "brain_to_image_top1") == {"ridge"}
    page = _sound_page(folder)
    assert _sections(page) == {"pictures", "metrics", "checks", "training", "run"}
    assert "rank " not in page.partition('id="pictures"')[2].partition("<figcaption>")[0]
    tiles = _tile_systems(page)
    assert tiles
    assert set(tiles) == {"Low level"}


def test_the_low_level_alone_without_a_generator(small_subject: Subject, tmp_path: Path) -> None:
    """As the preset mindeye1_lowlevel: encoder for contrast, nothing to draw with."""
    words = [*ZOO, *FEW, "high_enabled=false", "targets.generator=none"]
    folder = _run(small_subject, tmp_path / "run", words)
    assert _systems(folder, "SSIM") == {"low", "ridge", "ceiling_vae", "mean_picture"}
    assert _sections(_sound_page(folder)) == {"pictures", "metrics", "checks", "training", "run"}


def test_the_high_level_alone(small_subject: Subject, tmp_path: Path) -> None:
    folder = _run(small_subject, tmp_path / "run", [*PIXELS, *FEW, "low_enabled=false"])
    assert not (folder / "low" / "log.jsonl").exists()
    assert not (folder / "predict" / "latents.npy").exists()
    assert {"high", "ridge", "ceiling_generator"} <= _systems(folder, "SSIM")
    assert not {"low", "both"} & _systems(folder, "SSIM")
    assert "mindeye" in _systems(folder, "brain_to_image_top1")
    page = _sound_page(folder)
    assert _sections(page) == {"pictures", "retrieval", "metrics", "checks", "training", "run"}
    assert set(_tile_systems(page)) == {"MindEye", "High level"}


@pytest.mark.parametrize(
    ("kind", "losses"), [("mse", {"mse", "contrastive"}), ("none", {"contrastive"})]
)
def test_no_prior(small_subject: Subject, tmp_path: Path, kind: str, losses: set[str]) -> None:
    folder = _run(small_subject, tmp_path / "run", [*PIXELS, *FEW, f"high.prior.kind={kind}"])
    logged = {name.partition("/")[2] for name in _logged(folder) if name.startswith("train/")}
    assert losses <= logged
    assert not ({"prior", "mse"} - losses) & logged
    scores = np.load(folder / "reconstruct" / "high_scores.npy")
    assert np.array_equal(scores[:, 0], scores[:, 1])  # candidates of one estimate are alike
    assert "high" in _systems(folder, "SSIM")
    _sound_page(folder)


def test_a_regression_without_contrast(small_subject: Subject, tmp_path: Path) -> None:
    words = [*PIXELS, *FEW, "high.prior.kind=mse", "high.contrastive.enabled=false"]
    folder = _run(small_subject, tmp_path / "run", words)
    assert not any("contrastive" in name for name in _logged(folder) if name.startswith("train/"))
    assert "mindeye" in _systems(folder, "brain_to_image_top1")
    _sound_page(folder)


def test_pooled_tokens(small_subject: Subject, tmp_path: Path) -> None:
    """As the preset mindeye1_pooled: retrieval alone, nothing is drawn from the brain."""
    folder = _run(small_subject, tmp_path / "run", POOLED)
    assert np.load(folder / "predict" / "contrastive.npy").shape[1] == 1
    assert "mindeye" in _systems(folder, "brain_to_image_top1")
    assert _systems(folder, "SSIM") == {"ceiling_vae", "mean_picture"}
    page = _sound_page(folder)
    assert _sections(page) == {"retrieval", "metrics", "checks", "training", "run"}
    assert set(_tile_systems(page)) == {"MindEye"}


@pytest.mark.parametrize("augmentation", ["cached", "recomputed"])
def test_augmented_targets(small_subject: Subject, tmp_path: Path, augmentation: str) -> None:
    more = [f"targets.augmentation={augmentation}", "targets.views=2", "low_enabled=false"]
    folder = _run(small_subject, tmp_path / "run", [*PIXELS, *FEW, *more])
    plain = _run(small_subject, tmp_path / "plain", [*PIXELS, *FEW, "low_enabled=false"])
    weights = [(f / "high" / "model.safetensors").read_bytes() for f in (folder, plain)]
    assert weights[0] != weights[1]
    views = list((folder / "embed").glob("*view*"))
    assert bool(views) is (augmentation == "cached")
    _sound_page(folder)


def test_augmented_targets_go_with_pooled_tokens(small_subject: Subject, tmp_path: Path) -> None:
    folder = _run(
        small_subject, tmp_path / "run", [*POOLED, "targets.augmentation=cached", "targets.views=1"]
    )
    assert "mindeye" in _systems(folder, "brain_to_image_top1")


def test_the_published_choices_from_end_to_end(small_subject: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    flags = [f"--subject-dir={small_subject.path}", f"--out={folder}", "--as-published"]
    assert main(["run", "demo", *flags, *PIXELS, *FEW]) == 0
    config: dict[str, Any] = read_json(folder / "run.json")["config"]
    assert config["targets"]["augmentation"] == "recomputed"
    assert config["high"]["prior"]["sampler"] == "ddpm"
    page = _sound_page(folder)
    assert "Curves of high are measured on the test set" in page
    assert {"low", "high", "ridge"} <= _systems(folder, "SSIM")


def test_a_subject_with_voxels_without_noise_is_scored(tmp_path: Path) -> None:
    config = replace(SMALL, ceiling_low=0.9, ceiling_high=0.9)
    subject = simulate_subject(config, 0, tmp_path / "subject")
    folder = _run(subject, tmp_path / "run", [*PIXELS, *FEW, "low_enabled=false"])
    rows = {(r["metric"], r["system"]): r for r in read_json(folder / "metrics.json")["rows"]}
    assert rows["brain_to_image_top1", "ideal_observer"]["value"] == pytest.approx(1.0)


def test_every_variant_ends_with_every_stage_marked(small_subject: Subject, tmp_path: Path) -> None:
    """A pipeline that is switched off is a stage with nothing to do, not one that is missing."""
    words = [*PIXELS, *FEW, "low_enabled=false", "targets.generator=none"]
    folder = _run(small_subject, tmp_path / "run", words)
    assert all((folder / name / "stage.json").is_file() for name in STAGES)
    work = start_run(run_config({}, words), small_subject.path, folder)
    assert not any(run_all(work).values())
    assert _sections(_sound_page(folder)) == {"retrieval", "metrics", "checks", "training", "run"}
