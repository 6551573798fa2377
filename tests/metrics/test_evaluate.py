"""Claims about scores of images in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mindeye.data.images import to_images
from mindeye.errors import DataError
from mindeye.external.config import ExternalConfig
from mindeye.external.score import evaluate_pictures
from mindeye.metrics.evaluate import evaluate
from mindeye.metrics.features import FunctionExtractor
from mindeye.metrics.table import read_rows

NETWORKS = (
    FunctionExtractor("grey", lambda x: x.mean(dim=1)),
    FunctionExtractor("small", lambda x: x[..., ::4, ::4], "distance"),
)


def pictures(noise: int = 0, n: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    plain = coarse.repeat(5, axis=1).repeat(5, axis=2).astype(int)
    return (plain + rng.integers(-noise, noise + 1, plain.shape)).clip(0, 255).astype(np.uint8)


def test_numbers_are_those_of_the_command_to_the_last_digit(tmp_path: Path) -> None:
    for name, pixels in (("drawn", pictures(90)), ("truth", pictures())):
        np.save(tmp_path / f"{name}.npy", pixels)
    files = ((("drawn", tmp_path / "drawn.npy"),), tmp_path / "truth.npy")
    config = ExternalConfig(*files, out=tmp_path / "scores", size=32, seed=3, resamples=200)
    evaluate_pictures(config, tell=lambda line: None)
    rows = {row.metric: row for row in read_rows(tmp_path / "scores" / "metrics.json")}
    table = evaluate(pictures(90), pictures(), networks=(), size=32, seed=3, resamples=200)
    assert set(table.metric) == {"PixCorr", "SSIM"}
    for one in table.itertuples():
        row: Any = rows[str(one.metric)]
        assert (one.value, one.low, one.high) == (row.value, row.low, row.high)
        assert (one.n, one.floor) == (row.n, row.floor)


def test_bytes_and_floats_score_alike() -> None:
    bytes_ = evaluate(pictures(90), pictures(), networks=NETWORKS, resamples=50)
    floats = evaluate(to_images(pictures(90)), to_images(pictures()), networks=NETWORKS,
                      resamples=50)  # fmt: skip
    assert bytes_.equals(floats)
    assert list(bytes_.columns) == [
        "metric", "value", "low", "high", "n", "chance", "floor", "direction",
    ]  # fmt: skip
    found = bytes_.set_index("metric")
    assert found.direction["distance_small"] == "lower"
    assert found.chance["two_way_grey"] == 0.5
    assert np.isnan(found.chance["PixCorr"])
    assert found.value["two_way_grey"] > found.floor["two_way_grey"]


def test_asking_for_one_metric_moves_no_number() -> None:
    every = evaluate(pictures(90), pictures(), networks=NETWORKS, resamples=50)
    one = evaluate(pictures(90), pictures(), networks=NETWORKS, resamples=50, metrics=["SSIM"])
    assert one.equals(every[every.metric == "SSIM"].reset_index(drop=True))


def test_reconstructions_of_another_size_are_resized() -> None:
    small = torch.rand(4, 3, 8, 8)
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    table = evaluate(small, large, networks=(), size=None, resamples=20)
    assert table.set_index("metric").value["PixCorr"] > 0.8


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (np.zeros((12, 3, 20, 20), np.uint8), r"drawn must be \(N, H, W, 3\) uint8"),
        (np.zeros((12, 20, 20, 3)), "drawn must be"),
        (np.zeros((12, 20, 20), np.uint8), "drawn must be"),
        (torch.full((12, 3, 20, 20), 2.0), r"drawn must lie in \[0, 1\], got 2 to 2"),
        (torch.full((12, 3, 20, 20), torch.nan), r"drawn must lie in \[0, 1\]"),
        (np.zeros((11, 20, 20, 3), np.uint8), "drawn has 11 images, truth has 12"),
    ],
)
def test_wrong_images_are_refused_in_one_line(drawn: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        evaluate(drawn, pictures(), networks=())
    assert "\n" not in str(error.value)


def test_metrics_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match="'FID' is not known"):
        evaluate(pictures(), pictures(), networks=(), metrics=["FID"])
    with pytest.raises(DataError, match=r"two_way_swav cannot be computed .* PixCorr, SSIM"):
        evaluate(pictures(), pictures(), networks=(), metrics=["two_way_swav"])
    with pytest.raises(DataError, match="2 images or more"):
        evaluate(pictures(n=1), pictures(n=1), networks=())
