"""The gradient of a step does not depend on how the batch is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_objective import CONFIG, STILL, objective, training_step
from torch import Tensor

from mindeye.config import HighConfig
from mindeye.data.dataset import Batch
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.processes import Processes
from mindeye.training.step import check_shares

LOSSES = {
    "bimixco": (STILL, 0.1),
    "softclip": (STILL, 0.9),
    "infonce": (replace(STILL, contrastive=replace(STILL.contrastive, soft="infonce")), 0.9),
    "mse": (replace(STILL, prior=replace(STILL.prior, kind="mse")), 0.9),
    "prior alone": (replace(STILL, contrastive=replace(STILL.contrastive, enabled=False)), 0.9),
    "contrast alone": (replace(STILL, prior=replace(STILL.prior, kind="none")), 0.9),
    "no projector": (replace(STILL, decoder=replace(STILL.decoder, projector=False)), 0.1),
}


def step(
    subject: Subject, config: HighConfig, progress: float, micro_batch: int, rows: int = 13
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    goal = objective(subject, config)
    goal.model.train()
    batch = Batch(torch.from_numpy(subject.betas[:rows].copy()), torch.arange(rows))
    draw = goal.draw(batch, progress=progress, rng=torch.Generator().manual_seed(0))
    losses = training_step(goal, micro_batch=micro_batch).backward(draw, rows, seed=5)
    gradients = {name: p.grad for name, p in goal.model.named_parameters() if p.grad is not None}
    return losses, gradients


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("micro_batch", [1, 4, 6])
def test_micro_batches_have_the_gradient_of_the_whole_batch(
    name: str, micro_batch: int, small_subject: Subject
) -> None:
    config, progress = LOSSES[name]
    losses, gradients = step(small_subject, config, progress, 0)
    cut_losses, cut = step(small_subject, config, progress, micro_batch)
    assert losses.keys() == cut_losses.keys()
    for loss, value in losses.items():
        torch.testing.assert_close(cut_losses[loss], value, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == cut.keys()
    for parameter, gradient in gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(cut[parameter], gradient, rtol=1e-4, atol=1e-5 * scale + 1e-7)


def test_micro_batches_without_the_cached_gradient_would_be_wrong(small_subject: Subject) -> None:
    """The planted fault: contrasting each micro-batch by itself is another loss."""
    losses, _ = step(small_subject, STILL, 0.9, 0)
    alone, _ = step(small_subject, STILL, 0.9, 0, rows=4)
    assert abs(float(losses["contrastive"] - alone["contrastive"])) > 0.1


def test_dropout_is_the_same_in_both_passes_over_a_micro_batch(small_subject: Subject) -> None:
    """Embeddings of the second pass are those that the gradient was taken at."""
    config = replace(CONFIG, decoder=replace(CONFIG.decoder, dropout_block=0.5))
    goal = objective(small_subject, config)
    goal.model.train()
    seen: dict[str, list[Tensor]] = {"embed": [], "rows": []}
    embed, rows = goal.embed, goal.forward

    def watched_embed(draw):  # type: ignore[no-untyped-def]
        seen["embed"].append(embed(draw))
        return seen["embed"][-1]

    def watched_rows(draw):  # type: ignore[no-untyped-def]
        terms = rows(draw)
        seen["rows"].append(terms.embedding.detach())
        return terms

    goal.embed, goal.forward = watched_embed, watched_rows  # type: ignore[method-assign]
    batch = Batch(torch.from_numpy(small_subject.betas[:8].copy()), torch.arange(8))
    draw = goal.draw(batch, progress=0.9, rng=torch.Generator().manual_seed(0))
    training_step(goal, micro_batch=3).backward(draw, 8, seed=1)
    assert len(seen["rows"]) == 3
    for first, second in zip(seen["embed"], seen["rows"], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen["rows"][0][:2], seen["rows"][2])


def test_each_ablation_trains_what_it_says_and_no_more(small_subject: Subject) -> None:
    found = {
        name: set(step(small_subject, config, progress, 0)[0])
        for name, (config, progress) in LOSSES.items()
    }
    assert found["bimixco"] == found["no projector"] == {"contrastive", "prior"}
    assert found["mse"] == {"contrastive", "mse"}
    assert found["prior alone"] == {"prior"}
    assert found["contrast alone"] == {"contrastive"}


def test_a_batch_that_cannot_be_shared_is_refused_with_the_size_to_set() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=32 .* 3 processes.* set it to 30"):
        check_shares(32, Processes(torch.device("cpu"), 0, 3))
    check_shares(32, Processes(torch.device("cpu"), 1, 4))


@pytest.mark.parametrize(("rows", "count"), [(13, 4), (8, 4), (5, 2), (3, 3)])
def test_shares_cover_every_row_once(rows: int, count: int) -> None:
    shares = [Processes(torch.device("cpu"), i, count).share(rows) for i in range(count)]
    assert [i for s in shares for i in range(rows)[s]] == list(range(rows))
    sizes = [s.stop - s.start for s in shares]
    assert max(sizes) - min(sizes) <= 1
