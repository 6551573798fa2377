"""Bad input through the command line: one line that names the culprit, before anything is trained.

What must not happen: a traceback, code of a file being run, hours of training before the refusal.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import published_models
from mindeye.cli import main
from mindeye.data.subject import Subject
from mindeye.data.subject_writing import write_subject
from mindeye.diffusion import NoiseSchedule
from mindeye.published.imported import import_checkpoint
from mindeye.published.names import (
    decoder_to_published,
    lowlevel_to_published,
    prior_to_published,
)

PIXELS = [
    "targets.encoder=pixels:16:4",
    "targets.vae=pixels:16",
    "targets.generator=pixels",
    "high.prior.timesteps=10",
    "high.prior.sample_steps=4",
    "high.optim.epochs=2",
    "low.contrastive_weight=0",
    "low.optim.epochs=2",
]

State = dict[str, Tensor]
Run = Callable[..., str]


def _high_state(*, voxels: int = 120, tokens: int = 16, width: int = 16) -> State:
    torch.manual_seed(0)
    decoder = published_models.decoder(voxels=voxels, tokens=tokens, token_dim=width, blocks=1)
    prior = published_models.prior(dim=width, depth=1, num_tokens=tokens)
    parts = {
        "voxel2clip": decoder_to_published(decoder.state_dict()),
        "net": prior_to_published(prior.state_dict()),
        "noise_scheduler": NoiseSchedule.named("cosine", 10).published(),
    }
    return {f"{part}.{key}": value for part, s in parts.items() for key, value in s.items()}


def _low_state() -> State:
    model = published_models.low_level(
        voxels=120, seed=[32, 8, 8], block_out_channels=[32, 32], latent_channels=3, maps_width=None
    )
    return lowlevel_to_published(model.state_dict())


def _file(path: Path, state: State) -> Path:
    torch.save({"epoch": 3, "model_state_dict": state}, path)
    return path


def _weights(folder: Path, state: State) -> Path:
    import_checkpoint(_file(folder.with_suffix(".pth"), state), folder)
    return folder


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that must be refused, and return the one line it tells."""

    def run(*words: str | Path) -> str:
        assert main([str(word) for word in words]) in (1, 2)
        error = capsys.readouterr().err
        assert error.startswith("mindeye: "), error
        assert error.count("\n") == 1, error
        assert error.endswith("\n")
        return error

    return run


@pytest.fixture
def run_told(told: Run, small_subject: Subject, tmp_path: Path) -> Run:
    """The same for a run; nothing may have been embedded, fitted or trained."""
    out = tmp_path / "run"

    def run(*words: str) -> str:
        error = told("run", "demo", f"--subject-dir={small_subject.path}", f"--out={out}", *words)
        left = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
        assert left in ([], ["run.json"]), left
        return error

    return run


def test_the_words_of_these_tests_are_right_where_nothing_is_wrong(
    small_subject: Subject, tmp_path: Path
) -> None:
    words = [f"--subject-dir={small_subject.path}", f"--out={tmp_path / 'run'}", "--until=high"]
    weights = f"high.weights={_weights(tmp_path / 'high', _high_state())}"
    assert main(["run", "demo", *words, *PIXELS, weights]) == 0


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("kept", [0.9, 0.1])
def test_a_truncated_checkpoint(told: Run, tmp_path: Path, kept: float) -> None:
    source = _file(tmp_path / "last.pth", _high_state())
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * kept)])
    error = told("import-checkpoint", source, f"--out={tmp_path / 'out'}")
    assert str(source) in error
    assert "cut off" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_checkpoint_with_code_in_it(told: Run, tmp_path: Path, form: str) -> None:
    trace, source = tmp_path / "it-ran", tmp_path / "last.pth"
    content = {"model_state_dict": {**_high_state(), "extra": Payload(trace)}}
    if form == "torch":
        torch.save(content, source)
    else:
        source.write_bytes(pickle.dumps({"model_state_dict": Payload(trace)}, 2))
    error = told("import-checkpoint", source, f"--out={tmp_path / 'out'}")
    assert str(source) in error
    assert "names code" in error
    assert not trace.exists()
    assert not (tmp_path / "out").exists()
    pickle.loads(pickle.dumps(Payload(trace)))  # the payload does work
    assert trace.exists()


def test_code_hidden_in_weights_that_a_run_is_given(run_told: Run, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    folder = _weights(tmp_path / "high", _high_state())
    torch.save({"model_state_dict": Payload(trace)}, folder / "model.safetensors")
    error = run_told(*PIXELS, f"high.weights={folder}")
    assert str(folder) in error
    assert not trace.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(told: Run, tmp_path: Path, value: float) -> None:
    state = _high_state()
    state["voxel2clip.lin1.bias"][3] = value
    source = _file(tmp_path / "last.pth", state)
    error = told("import-checkpoint", source, f"--out={tmp_path / 'out'}")
    assert "voxel2clip.lin1.bias not finite" in error


def test_a_checkpoint_of_something_else(told: Run, tmp_path: Path) -> None:
    source = _file(tmp_path / "resnet.pth", {"layer1.conv.weight": torch.ones(2, 2)})
    assert "layer1.conv.weight" in told("import-checkpoint", source, f"--out={tmp_path / 'out'}")


def test_weights_of_the_wrong_kind(run_told: Run, tmp_path: Path) -> None:
    folder = _weights(tmp_path / "weights", _low_state())
    error = run_told(*PIXELS, f"high.weights={folder}")
    assert f"{folder} holds a low-level pipeline; name it as low.weights" in error


def test_high_level_weights_as_low_are_told_before_the_high_level_is_trained(
    run_told: Run, tmp_path: Path
) -> None:
    folder = _weights(tmp_path / "weights", _high_state())
    error = run_told(*PIXELS, f"low.weights={folder}")
    assert f"{folder} holds no low-level pipeline; name it as high.weights" in error


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"voxels": 77}, "77 voxels, this subject has 120"),
        ({"tokens": 4}, "predicts 4 x 16 tokens"),
        ({"width": 8}, "predicts 16 x 8 tokens"),
    ],
)
def test_weights_of_sizes_that_do_not_fit(
    run_told: Run, tmp_path: Path, sizes: dict[str, int], message: str
) -> None:
    folder = _weights(tmp_path / "high", _high_state(**sizes))
    error = run_told(*PIXELS, f"high.weights={folder}")
    assert str(folder) in error
    assert message in error


def test_low_level_weights_that_do_not_fit_are_told_before_the_high_level_is_trained(
    run_told: Run, tmp_path: Path
) -> None:
    folder = _weights(tmp_path / "low", _low_state())
    words = [w for w in PIXELS if "vae" not in w]
    assert "latents (3, 16, 16)" in run_told(
        *words, "targets.vae=pixels:8", f"low.weights={folder}"
    )


@pytest.mark.parametrize("pipeline", ["high", "low"])
def test_weights_that_are_nowhere(run_told: Run, tmp_path: Path, pipeline: str) -> None:
    nowhere = tmp_path / "nowhere"
    assert str(nowhere) in run_told(*PIXELS, f"{pipeline}.weights={nowhere}")


def test_a_pth_file_in_the_place_of_an_imported_folder(run_told: Run, tmp_path: Path) -> None:
    source = _file(tmp_path / "last.pth", _high_state())
    error = run_told(*PIXELS, f"high.weights={source}")
    assert str(source) in error
    assert "import-checkpoint" in error


@pytest.mark.parametrize("name", ["encoder", "vae", "generator"])
def test_models_that_are_nowhere_are_told_before_a_training(run_told: Run, name: str) -> None:
    zoo = [w for w in PIXELS if not w.startswith("targets.")]
    error = run_told(*zoo, f"targets.{name}=weights/nowhere")
    assert f"targets.{name}: there is no local folder 'weights/nowhere'" in error


def test_the_preset_of_the_paper_without_its_weights(
    told: Run, small_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = told("run", "mindeye1", f"--subject-dir={small_subject.path}", "--out=run")
    assert "targets.encoder: openai/clip-vit-large-patch14 is not in" in error
    assert "mindeye fetch models" in error


CONTRADICTIONS = {
    "batch of one": (["high.optim.batch_size=1"], "batch_size is 1"),
    "batch of one, low": (["low.optim.batch_size=1"], "batch_size is 1"),
    "nothing to train": (["high_enabled=false", "low_enabled=false"], "both false"),
    "no loss": (["high.contrastive.enabled=false", "high.prior.kind=none"], "nothing would be"),
    "weights and a regression": (["high.weights=w", "high.prior.kind=mse"], "leave one of them"),
    "pooled pixels": (["targets.tokens=pooled"], "no class token"),
    "pixels drawn by the zoo": (["targets.generator=zoo"], "does not take the embeddings"),
    "more steps than times": (["high.prior.sample_steps=11"], "sample_steps is 11"),
    "one step as published": (
        ["high.prior.sampler=ddim_as_published", "high.prior.sample_steps=1"], "at least 2",
    ),
    "micro-batch above batch": (["high.optim.micro_batch=65"], "micro_batch is 65"),
    "norm groups": (["low.norm_groups=5"], "low.norm_groups is 5"),
    "cache of no views": (["targets.augmentation=cached", "targets.views=0"], "targets.views is 0"),
    "patch and size": (["targets.encoder=pixels:16:5"], "patch must divide"),
    "head without width": (["high.decoder.head=shared", "high.decoder.head_width=0"], "head_width"),
    "no such sampler": (["high.prior.sampler=euler"], "sampler"),
    "pixels for no pixels, low alone": (
        ["high_enabled=false", "targets.encoder=zoo"], "does not take embeddings of zoo_clip",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_options_that_contradict_each_other(run_told: Run, case: str) -> None:
    words, message = CONTRADICTIONS[case]
    assert message in run_told(*PIXELS, *words)


def test_a_subject_with_nothing_to_train_on(
    capsys: pytest.CaptureFixture[str], small_subject: Subject, tmp_path: Path
) -> None:
    folder = tmp_path / "tested"
    write_subject(
        folder,
        betas=small_subject.betas,
        trials=small_subject.trials,
        pictures=small_subject.pictures,
        stimuli=small_subject.stimuli.assign(split="test"),
        voxels=small_subject.voxels,
        info={"source": "test"},
    )
    words = ["run", "demo", f"--subject-dir={folder}", f"--out={tmp_path / 'run'}", *PIXELS]
    assert main(words) == 2
    assert "has no train stimuli" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there_is_told_before_torch_is_imported(
    small_subject: Subject, tmp_path: Path
) -> None:
    words = ["run", "mindeye1", f"--subject-dir={small_subject.path}", f"--out={tmp_path / 'r'}"]
    code = f"import sys; from mindeye.cli import main; main({words}); print('torch' in sys.modules)"
    empty = {**os.environ, "MINDEYE_WEIGHTS": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=empty)
    assert "targets.encoder: openai/clip-vit-large-patch14 is not in" in told.stderr
    assert told.stdout == "False\n"
    assert not (tmp_path / "r").exists()
