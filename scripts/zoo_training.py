"""One resumable training loop for the three embedded models."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Budget:
    """How long to train: by `steps` where given (exactly repeatable), else by `minutes`."""

    minutes: float | None
    steps: int | None
    threads: int
    seed: int

    def share(self, step: int, seconds: float) -> float:
        """Return how much of the budget is used, in [0, 1]."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60 * (self.minutes or 10)))


@dataclass(frozen=True)
class Recipe:
    """What a model brings to the loop.

    `loss(step)` returns the loss and numbers to print; `export(model, record)` writes the model
    folder from the averaged weights.
    """

    name: str
    model: nn.Module
    loss: Callable[[int], tuple[Tensor, dict[str, float]]]
    export: Callable[[nn.Module, dict[str, object]], None]
    learning_rate: float
    average: float = 0.998
    weight_decay: float = 0.01


def fit(recipe: Recipe, budget: Budget, work: Path, *, save_every: float = 180.0) -> None:
    """Train with AdamW, a warm-up, a cosine to zero and averaged weights; resume if cut off."""
    model = recipe.model.train()
    averaged = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    state_file = work / recipe.name / "state.pt"
    state_file.parent.mkdir(parents=True, exist_ok=True)
    step, seconds, note = 0, 0.0, ""
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        step, seconds, note = state["step"], state["seconds"], state.get("note", "")
        print(f"resumed {recipe.name} at step {step}, {seconds / 60:.1f} min", flush=True)

    def save() -> None:
        partial = state_file.with_suffix(".partial")
        torch.save(
            {"model": model.state_dict(), "averaged": averaged.state_dict(),
             "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds, "note": note},
            partial,
        )  # fmt: skip
        partial.replace(state_file)
        record = {
            **asdict(budget), "trained_steps": step, "trained_minutes": round(seconds / 60, 1),
            "note": note,
        }  # fmt: skip
        recipe.export(averaged, record)
        print(f"saved {recipe.name} at step {step}", flush=True)

    saved = printed = last = time.monotonic()
    while (share := budget.share(step, seconds)) < 1:
        rate = recipe.learning_rate * min(1.0, (step + 1) / 200)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, numbers = recipe.loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        # A single non-finite batch must not poison the average.
        if bool(torch.isfinite(norm)):
            optimizer.step()
        step += 1
        decay = min(recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        now = time.monotonic()
        seconds, last = seconds + now - last, now
        if now - printed > 20:
            printed = now
            left = seconds * (1 - share) / max(share, 1e-6) / 60
            shown = " ".join(f"{name} {value:.4f}" for name, value in numbers.items())
            each = seconds / step
            print(f"{recipe.name} step {step} {each:.3f} s/step lr {rate:.1e} {shown} "
                  f"ETA {left:.1f} min", flush=True)  # fmt: skip
        if now - saved > save_every:
            save()
            saved = last = time.monotonic()
    save()


def write_record(folder: Path, record: dict[str, object]) -> None:
    """Keep beside the weights how they were trained; let everybody read them."""
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    (folder / "training.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
