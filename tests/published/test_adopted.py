"""Imported checkpoints in the place of a training: the same numbers, misfits refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_import_checkpoint import _high_state, _training_file, _under

import published_models
from mindeye.cli import main
from mindeye.config import HighConfig, PriorConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.diffusion import NoiseSchedule, embedding_scale, sample_ddpm
from mindeye.errors import CheckpointError, MindEyeError
from mindeye.files import read_json
from mindeye.generation.predict import sample_prior
from mindeye.models.decoder import Decoder
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.published.adopted import adopt_high, adopt_low
from mindeye.published.imported import PublishedHigh, import_checkpoint, load_imported
from mindeye.published.names import (
    decoder_to_published,
    lowlevel_to_published,
    prior_to_published,
)
from mindeye.runs import run_all, start_run

VOXELS, TOKENS, WIDTH, LATENTS, TIMESTEPS = 120, 16, 16, (3, 16, 16), 10
"""Of the small subject, of pixels:16:4 and of pixels:16."""

SIZES = Sizes(VOXELS, TOKENS, WIDTH, LATENTS)
BETAS = torch.linspace(-2, 2, 3 * VOXELS).view(3, VOXELS)
CPU = torch.device("cpu")
FEW = HighConfig(prior=PriorConfig(sample_steps=4))

WORDS = [
    "targets.encoder=pixels:16:4",
    "targets.vae=pixels:16",
    "targets.generator=pixels",
    "high.prior.timesteps=10",
    "high.prior.sample_steps=4",
    "low.contrastive_weight=0",
    "reconstruct.candidates=2",
    "evaluate.picture_size=0",
    "evaluate.nway=10",
    "evaluate.resamples=100",
]


def _decoder(voxels: int = VOXELS, tokens: int = TOKENS, *, projector: bool = True) -> Decoder:
    return published_models.decoder(
        voxels=voxels, tokens=tokens, token_dim=WIDTH, blocks=1, projector=projector
    )


def _state(kind: str, **sizes: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    if kind == "backbone":
        return decoder_to_published(_decoder(**sizes).state_dict())
    if kind == "low":
        model = published_models.low_level(
            voxels=sizes.get("voxels", VOXELS), seed=[32, 8, 8], latent_channels=3,
            block_out_channels=[32] * sizes.get("levels", 2),
        )  # fmt: skip
        return lowlevel_to_published(model.state_dict())
    decoder = _decoder(**sizes)
    prior = published_models.prior(dim=WIDTH, depth=1, num_tokens=decoder.tokens)
    return {
        **_under("voxel2clip", decoder_to_published(decoder.state_dict())),
        **_under("net", prior_to_published(prior.state_dict())),
        **_under("noise_scheduler", NoiseSchedule.named("cosine", TIMESTEPS).published()),
    }


def _imported(folder: Path, kind: str, **sizes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = "_".join([kind, *(f"{k}{v}" for k, v in sizes.items())])
    source = _training_file(folder / f"{name}.pth", _state(kind, **sizes))
    import_checkpoint(source, folder / name)
    return folder / name


def _high(folder: Path) -> PublishedHigh:
    loaded = load_imported(folder)
    assert isinstance(loaded, PublishedHigh)
    return loaded


def test_the_adopted_pipeline_decodes_exactly_as_the_imported_one(tmp_path: Path) -> None:
    folder = _imported(tmp_path, "high")
    model, theirs = adopt_high(folder, SIZES, FEW), _high(folder)
    assert isinstance(model, HighLevel)
    assert not model.training
    with torch.no_grad():
        ours, wanted = model(BETAS), theirs(BETAS)
    assert torch.equal(ours.backbone, wanted.backbone)
    assert wanted.contrastive is not None
    assert torch.equal(ours.contrastive, wanted.contrastive)
    assert not torch.equal(ours.contrastive, ours.backbone)
    assert not any(p.is_meta for p in [*model.parameters(), *model.buffers()])


def test_the_low_level_pipeline_is_the_imported_one(tmp_path: Path) -> None:
    folder = _imported(tmp_path, "low")
    with torch.no_grad():
        ours, wanted = adopt_low(folder, SIZES)(BETAS), load_imported(folder)(BETAS)
    assert torch.equal(ours.latents, wanted.latents)


def test_a_prior_sample_is_ddpm_on_the_imported_network_divided_by_the_scale(
    tmp_path: Path,
) -> None:
    folder = _imported(tmp_path, "high")
    model, theirs = adopt_high(folder, SIZES, FEW), _high(folder)
    condition = torch.randn(3, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    seeds = [5, 6, 7]
    config = PriorConfig(sampler="ddpm", sample_steps=4)
    drawn = sample_prior(model, condition, config, seeds=seeds, device=CPU, precision="fp32")
    starts, noises = [], []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        starts.append(torch.randn(TOKENS, WIDTH, generator=rng))
        noises.append(torch.randn(TIMESTEPS, TOKENS, WIDTH, generator=rng))
    noise = torch.stack(noises, dim=1)
    with torch.no_grad():
        wanted = sample_ddpm(
            theirs.prior, theirs.schedule, torch.stack(starts), condition, step_noise=noise
        )
    assert torch.equal(drawn, wanted / embedding_scale(WIDTH))
    assert embedding_scale(WIDTH) == pytest.approx(4.0)


def test_a_backbone_alone_gives_a_point_estimate_of_unit_tokens(tmp_path: Path) -> None:
    model = adopt_high(_imported(tmp_path, "backbone"), SIZES, FEW).to(CPU)
    assert model.prior is None
    with torch.no_grad():
        backbone, contrastive = model(BETAS)
        estimate = model.point_estimate(backbone, contrastive)
    norms = estimate.square().sum(dim=2).mean(dim=1).sqrt()
    torch.testing.assert_close(norms, torch.ones(3))
    cosine = torch.cosine_similarity(estimate.flatten(1), contrastive.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(3))


def test_a_run_without_prior_leaves_the_imported_prior_out(tmp_path: Path) -> None:
    config = HighConfig(prior=PriorConfig(kind="none", sample_steps=4))
    model = adopt_high(_imported(tmp_path, "high"), SIZES, config)
    assert (model.kind, model.prior) == ("none", None)


MISFITS = {
    "low as high": ("high", "low", {}, "holds a low-level pipeline; name it as low.weights"),
    "high as low": ("low", "high", {}, "holds no low-level pipeline; name it as high.weights"),
    "backbone as low": ("low", "backbone", {}, "holds no low-level pipeline"),
    "voxels, high": ("high", "high", {"voxels": 5}, "5 voxels, this subject has 120"),
    "voxels, backbone": ("high", "backbone", {"voxels": 5}, "5 voxels, this subject has 120"),
    "voxels, low": ("low", "low", {"voxels": 5}, "5 voxels, this subject has 120"),
    "tokens": ("high", "high", {"tokens": 9}, "predicts 9 x 16 tokens, .* gives 16 x 16"),
    "latents": ("low", "low", {"levels": 3}, r"latents \(3, 32, 32\), .* gives \(3, 16, 16\)"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_refused_by_name_before_anything_is_embedded_or_trained(
    case: str, small_subject: Subject, tmp_path: Path
) -> None:
    slot, kind, sizes, message = MISFITS[case]
    folder, out = _imported(tmp_path / "weights", kind, **sizes), tmp_path / "run"
    work = start_run(run_config({}, [*WORDS, f"{slot}.weights={folder}"]), small_subject.path, out)
    with pytest.raises(CheckpointError, match=message) as caught:
        run_all(work)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p for p in out.rglob("*") if p.is_file()] == [out / "run.json"]


def test_more_sampling_steps_than_the_checkpoint_has_are_refused(tmp_path: Path) -> None:
    folder = _imported(tmp_path, "high")
    with pytest.raises(CheckpointError, match=r"has 10 timesteps, .*sample_steps is 20"):
        adopt_high(folder, SIZES, HighConfig(prior=PriorConfig(sample_steps=20)))


@pytest.mark.parametrize("fault", ["absent", "a file", "of a training", "torn config", "a list"])
def test_what_is_no_imported_checkpoint_is_refused_by_its_path(tmp_path: Path, fault: str) -> None:
    folder = _imported(tmp_path, "high")
    if fault == "absent":
        folder = tmp_path / "nowhere"
    elif fault == "a file":
        folder = _training_file(tmp_path / "last.pth", _high_state())
    elif fault == "of a training":
        content = {**read_json(folder / "config.json"), "kind": "high"}
        (folder / "config.json").write_text(json.dumps(content))
    else:
        (folder / "config.json").write_text("{" if fault == "torn config" else "[]")
    for adopt in (lambda: adopt_high(folder, SIZES, FEW), lambda: adopt_low(folder, SIZES)):
        with pytest.raises(CheckpointError) as caught:
            adopt()
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "gone"])
def test_weights_that_changed_since_the_run_began_are_refused(
    changed: str, small_subject: Subject, tmp_path: Path
) -> None:
    folder = _imported(tmp_path / "weights", "high")
    words = [*WORDS, "low_enabled=false", f"high.weights={folder}"]
    work = start_run(run_config({}, words), small_subject.path, tmp_path / "run")
    run_all(work, until="high")
    if changed == "gone":
        shutil.rmtree(folder)
    elif changed == "config.json":
        path = folder / changed
        path.write_text(path.read_text().replace('"last', '"first') + " ")
    else:
        state = _state("high", voxels=VOXELS)
        state["voxel2clip.lin1.bias"] = state["voxel2clip.lin1.bias"] + 1
        import_checkpoint(_training_file(tmp_path / "other.pth", state), tmp_path / "other")
        shutil.copy(tmp_path / "other" / changed, folder / changed)
    with pytest.raises(MindEyeError, match="is not what it was when this run began"):
        run_all(work)
    assert not (tmp_path / "run" / "predict" / "contrastive.npy").exists()


@pytest.mark.parametrize("kind", ["high", "backbone"])
def test_a_whole_run_on_given_weights_trains_nothing(
    kind: str, small_subject: Subject, tmp_path: Path
) -> None:
    high, low = _imported(tmp_path / "w", kind), _imported(tmp_path / "w", "low")
    out = tmp_path / "run"
    words = [*WORDS, f"high.weights={high}", f"low.weights={low}"]
    assert main(
        ["run", "demo", f"--subject-dir={small_subject.path}", f"--out={out}", *words]
    ) == 0  # fmt: skip
    assert not list(out.rglob("log.jsonl"))
    assert not list(out.rglob("*.safetensors"))
    assert Path(read_json(out / "high" / "weights.json")["folder"]) == high.resolve()
    found = {(r["metric"], r["system"]) for r in read_json(out / "metrics.json")["rows"]}
    assert ("brain_to_image_top1", "mindeye") in found
    assert {("SSIM", "high"), ("SSIM", "low")} <= found
    page = (out / "report.html").read_text()
    assert 'id="pictures"' in page
    assert 'id="training"' not in page


def test_predictions_of_a_run_are_those_of_the_imported_model(
    small_subject: Subject, tmp_path: Path
) -> None:
    import numpy as np

    high = _imported(tmp_path / "w", "high")
    out = tmp_path / "run"
    words = [*WORDS, "low_enabled=false", f"high.weights={high}"]
    run_all(start_run(run_config({}, words), small_subject.path, out), until="predict")
    betas = torch.from_numpy(small_subject.betas_of(small_subject.splits["test"]))
    with torch.no_grad():
        wanted = _high(high)(betas)
    assert wanted.contrastive is not None
    found = torch.from_numpy(np.load(out / "predict" / "contrastive.npy"))
    torch.testing.assert_close(found, wanted.contrastive, rtol=0, atol=0)
