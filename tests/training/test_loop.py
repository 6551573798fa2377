from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mindeye.config import DecoderConfig, HighConfig, OptimConfig, PriorConfig
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.data.subject import Subject
from mindeye.errors import CheckpointError, NumericalError
from mindeye.models.pipelines import HighLevel, Sizes
from mindeye.runs import MetricsLog
from mindeye.training.checkpoint import FILE
from mindeye.training.loop import train
from mindeye.training.objectives import HighObjective, Validation
from mindeye.training.optim import decay_groups

TOKENS, WIDTH = 4, 8
CONFIG = HighConfig(
    decoder=DecoderConfig(width=16, blocks=1, projector_width=16),
    prior=PriorConfig(depth=1, heads=2, dim_head=8, timesteps=10, sample_steps=4),
    optim=OptimConfig(epochs=4, batch_size=16, checkpoint_every=1, precision="fp32"),
)


def objective(subject: Subject, config: HighConfig = CONFIG) -> HighObjective:
    torch.manual_seed(0)
    tokens = torch.randn(len(subject.stimuli), TOKENS, WIDTH)
    val = subject.splits["val"]
    rows = torch.tensor([subject.row_of_stimulus[s] for s in val])
    validation = Validation(torch.from_numpy(subject.mean_betas(val)), rows)
    sizes = Sizes(subject.betas.shape[1], TOKENS, WIDTH, (1, 4, 4))
    return HighObjective(HighLevel(sizes, config), config, tokens, validation)


def fit(subject: Subject, goal: HighObjective, optim: OptimConfig, folder: Path) -> None:
    data = TrainingSet(subject, subject.splits["train"])
    train(goal, data, optim, folder, seed=3, key="k", device=torch.device("cpu"))


class Interrupted(Exception):
    """Stands for a power cut."""


def test_resumed_training_gives_bit_identical_weights(
    small_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective(small_subject)
    fit(small_subject, whole, CONFIG.optim, tmp_path / "whole")

    first = objective(small_subject)
    calls = {"n": 0}
    validate = first.validate

    def cut(*, rng: torch.Generator) -> dict[str, float]:
        calls["n"] += 1
        if calls["n"] == 3:
            raise Interrupted
        return validate(rng=rng)

    monkeypatch.setattr(first, "validate", cut)
    with pytest.raises(Interrupted):
        fit(small_subject, first, CONFIG.optim, tmp_path / "cut")
    second = objective(small_subject)
    fit(small_subject, second, CONFIG.optim, tmp_path / "cut")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert MetricsLog.rows(tmp_path / "whole" / "log.jsonl") == MetricsLog.rows(
        tmp_path / "cut" / "log.jsonl"
    )


def test_a_torn_checkpoint_is_named(small_subject: Subject, tmp_path: Path) -> None:
    fit(small_subject, objective(small_subject), CONFIG.optim, tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint.safetensors is torn"):
        fit(small_subject, objective(small_subject), CONFIG.optim, tmp_path)


def test_a_checkpoint_of_another_config_is_not_resumed(
    small_subject: Subject, tmp_path: Path
) -> None:
    short = replace(CONFIG.optim, epochs=1)
    data = TrainingSet(small_subject, small_subject.splits["train"])
    cpu = torch.device("cpu")
    goal = objective(small_subject)
    train(goal, data, short, tmp_path, seed=3, key="one", device=cpu)
    train(goal, data, short, tmp_path, seed=3, key="two", device=cpu)
    assert (
        len([r for r in MetricsLog.rows(tmp_path / "log.jsonl") if r["name"] == "val/prior"]) == 1
    )


def test_a_loss_that_is_not_finite_stops_by_name(small_subject: Subject, tmp_path: Path) -> None:
    goal = objective(small_subject)
    goal.tokens[small_subject.row_of_stimulus[small_subject.splits["train"][0]]] = torch.inf
    with pytest.raises(NumericalError, match=r"of train high is (nan|inf) at step"):
        fit(small_subject, goal, CONFIG.optim, tmp_path)


def test_training_learns_what_is_there_and_not_what_is_not(
    small_subject: Subject, tmp_path: Path
) -> None:
    """Tokens that are a linear image of the noise-free responses are found; random ones are not."""
    import numpy as np

    config = replace(
        CONFIG,
        decoder=replace(CONFIG.decoder, width=64),
        optim=replace(CONFIG.optim, epochs=60, learning_rate=3e-3),
    )
    truth = torch.from_numpy(np.load(small_subject.path / "truth" / "responses.npy"))
    readable = objective(small_subject, config)
    mixing = torch.randn(truth.shape[1], TOKENS * WIDTH, generator=torch.Generator().manual_seed(1))
    readable.tokens = (truth @ mixing).unflatten(1, (TOKENS, WIDTH)) / truth.shape[1] ** 0.5
    fit(small_subject, readable, config.optim, tmp_path / "readable")
    random = objective(small_subject, config)
    fit(small_subject, random, config.optim, tmp_path / "random")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        found, none = readable.validate(rng=rng), random.validate(rng=rng)
    assert found["contrastive"] < none["contrastive"] - 0.5
    assert found["prior"] < none["prior"]
    assert found["brain_to_image_top1"] > 0.5 > none["brain_to_image_top1"]  # chance is 1 / 6


def test_weight_decay_spares_biases_norms_and_tables(small_subject: Subject) -> None:
    config = OptimConfig(weight_decay=0.1, input_weight_decay=0.7)
    model = objective(small_subject).model
    groups = decay_groups(model, config, "decoder.backbone.input")
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    names = dict(model.named_parameters())
    assert len(decay) == len(names)
    for name, parameter in names.items():
        if parameter.ndim < 2:
            assert decay[id(parameter)] == 0, name
    assert decay[id(names["decoder.backbone.input.weight"])] == 0.7
    assert decay[id(names["decoder.output.weight"])] == 0.1
    assert any(decay[id(p)] == 0 and p.ndim == 2 for p in names.values())  # learned tokens


class Counting:
    """An objective that records the shares of training it was told."""

    name, input_layer, weights = "count", "none", {"loss": 1.0}

    def __init__(self, voxels: int) -> None:
        self.model = nn.Linear(voxels, 1)
        self.told: list[float] = []

    def losses(self, batch: Batch, *, progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        self.told.append(progress)
        return {"loss": self.model(batch.betas).square().mean()}

    def validate(self, *, rng: torch.Generator) -> dict[str, float]:
        return {}


def test_progress_runs_evenly_from_zero_to_just_below_one(
    small_subject: Subject, tmp_path: Path
) -> None:
    goal = Counting(small_subject.betas.shape[1])
    fit(small_subject, goal, CONFIG.optim, tmp_path)  # type: ignore[arg-type]
    steps = 4 * 4  # 54 stimuli in batches of 16, four epochs
    assert goal.told == pytest.approx([i / steps for i in range(steps)])
