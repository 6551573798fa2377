"""CLIP comes with the metrics' networks, from a hub on this machine by the hub's real client."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import COMMIT, SmallHub, serving
from huggingface_hub import constants
from small_models import CLIP, files_of

from mindeye.metrics.features import find_weights
from mindeye.weights.metric_networks import METRIC_FILES, FetchMetricsConfig, fetch_metrics
from mindeye.weights.table import MODELS


def test_clip_lands_where_evaluations_look_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in list(METRIC_FILES):  # the others are tested over the other server
        monkeypatch.delitem(METRIC_FILES, name)
    hub = SmallHub({CLIP: files_of(CLIP)}, revisions=("main", COMMIT, MODELS[CLIP].revision))
    lines: list[str] = []
    with serving(hub) as running:
        config = FetchMetricsConfig(tmp_path / "m", endpoint=running.address)
        fetch_metrics(config, tell=lines.append)
    found = find_weights("clip_vit_l14", tmp_path / "m")
    assert found is not None
    assert found.parent == tmp_path / "m"
    assert (found / "model.safetensors").is_file()
    assert any("licence" in line and "clip" in line for line in lines)
