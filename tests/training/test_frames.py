"""The way from the training loop to the first layer is short, so that a reader can follow it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from small_objective import fit, objective

import mindeye
from mindeye.data.subject import Subject

PACKAGE = Path(mindeye.__file__).parent
MOST = 6
"""Functions of ours from `train` to whatever calls the first layer, both included."""


class Seen(Exception):
    """The first layer was called."""


def test_the_first_layer_is_six_functions_from_the_loop(
    small_subject: Subject, tmp_path: Path
) -> None:
    goal = objective(small_subject)
    frames: list[str] = []

    def look(*_: object) -> None:
        ours = [f for f in inspect.stack() if Path(f.filename).is_relative_to(PACKAGE)]
        frames.extend(f"{Path(f.filename).stem}.{f.function}" for f in ours)
        raise Seen

    goal.model.decoder.backbone.input.register_forward_pre_hook(look)
    with pytest.raises(Seen):
        fit(small_subject, goal, tmp_path)
    way = frames[: frames.index("loop.train") + 1]
    assert len(way) <= MOST, way
    assert torch.is_grad_enabled()
