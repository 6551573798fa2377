"""The tidy table: every metric of every system with its interval, floor, ceiling and chance.

Rows are made by one function per question (who is retrieved, what does the picture look like)
and written once. A number never stands alone: beside it are the interval over stimuli, what
chance gives, what the same predictions score when shuffled (floor), and what the best possible
system of the same setting scores (ceiling), where one is known. Same seed, same bits.

Axes: S stimuli, D width, N images.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye import retrieval, runs
from mindeye.errors import DataError
from mindeye.evaluation import controls, identification, pixels
from mindeye.evaluation.features import FeatureExtractor, Missing
from mindeye.evaluation.uncertainty import Interval, Statistic, bootstrap_interval

Ceilings = Mapping[str, float]


@dataclass(frozen=True)
class Scoring:
    """How results are scored.

    Parameters
    ----------
    candidates
        Pool size of the n-way retrieval (300 in the paper).
    draws
        Random pools (30 in the paper).
    resamples
        Bootstrap resamples over stimuli.
    level
        Level of every interval.
    shuffles
        Random pairings behind every floor.
    slow_shuffles, slow_stimuli
        The same for pixel metrics, which are too slow for a table of all pairs: few pairings,
        of at most that many stimuli.
    """

    candidates: int = 300
    draws: int = 30
    resamples: int = 2000
    level: float = 0.95
    shuffles: int = 200
    slow_shuffles: int = 3
    slow_stimuli: int = 100


@dataclass(frozen=True)
class Row:
    """One metric of one system.

    Attributes
    ----------
    metric, system
        Names, as in docs/metrics.md.
    value, low, high
        Score and the ends of its interval over stimuli (None where there is no interval).
    n
        Stimuli scored.
    chance
        Score of guessing; None where the metric has none (pixel metrics).
    floor
        Score of the same predictions paired with pictures at random.
    ceiling
        Score of the best possible system in this setting, if known.
    floor_low, floor_high
        Interval of the floor over random pairings.
    note
        What a reader must know, such as a smaller candidate pool.
    """

    metric: str
    system: str
    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None
    floor: float | None
    ceiling: float | None = None
    floor_low: float | None = None
    floor_high: float | None = None
    note: str = ""


def retrieval_rows(
    system: str,
    predicted: Tensor,
    actual: Tensor,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceiling: Ceilings | None = None,
) -> list[Row]:
    """Score retrieval in both directions by cosine similarity.

    Parameters
    ----------
    system : str
        Name of the decoder.
    predicted, actual : Tensor (S, D) or (S, K, D)
        Embeddings from brain activity and of the pictures seen, in the same order.
    rng : numpy.random.Generator
        Pools, shuffles and resamples.
    scoring : Scoring
        Pool size, draws, resamples.
    ceiling : mapping, optional
        Metric name to the score of the best possible system.

    Returns
    -------
    list of Row
        For ``brain_to_image`` and ``image_to_brain``: ``_top1`` (n-way), ``_full_top1``,
        ``_full_top5`` and ``_median_rank`` (all stimuli).
    """
    if len(predicted) != len(actual):
        raise DataError(f"{len(predicted)} predictions for {len(actual)} pictures")
    scores = retrieval.similarity(predicted, actual)
    return rows_from_scores(
        system,
        scores,
        rng=rng,
        scoring=scoring,
        ceiling=ceiling,
        tie_tolerance=retrieval.rounding(scores.dtype),
    )


def rows_from_scores(
    system: str,
    scores: Tensor,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceiling: Ceilings | None = None,
    tie_tolerance: float = 0.0,
) -> list[Row]:
    """`retrieval_rows` from any match score, such as the log-likelihood of an ideal observer.

    Parameters
    ----------
    scores : Tensor (S, S)
        Rows are brains, columns are pictures; higher is a better match.
    system, rng, scoring, ceiling
        As in `retrieval_rows`.
    tie_tolerance : float
        Scores that differ by no more than this are tied.
    """
    how = scoring or Scoring()
    rows: list[Row] = []
    for direction, table in (("brain_to_image", scores), ("image_to_brain", scores.T)):
        rows += _direction_rows(direction, system, table, rng, how, tie_tolerance)
    return _with_ceilings(rows, ceiling)


def _direction_rows(
    direction: str,
    system: str,
    scores: Tensor,
    rng: np.random.Generator,
    how: Scoring,
    tie_tolerance: float,
) -> list[Row]:
    nway = retrieval.nway_top1_from_scores(
        scores, candidates=how.candidates, draws=how.draws, rng=rng, tie_tolerance=tie_tolerance
    )
    s, n = len(scores), nway.candidates
    note = (
        f"{n} candidates" if n == how.candidates else f"{n} candidates: there are no more stimuli"
    )
    rank = retrieval.ranks_from_scores(scores, tie_tolerance=tie_tolerance).cpu()
    table = retrieval.rank_table(scores, tie_tolerance=tie_tolerance).cpu().numpy()
    success = nway.per_query[~nway.per_query.isnan()].numpy()
    expected = retrieval.expected_nway_success(torch.from_numpy(table), s, n).numpy()

    def row(
        name: str,
        values: NDArray[Any],
        pairings: NDArray[Any],
        chance: float,
        statistic: Statistic = np.mean,
        note: str = "",
    ) -> Row:
        interval = _interval(values, rng, how, statistic)
        floor = controls.shuffled_floor(
            pairings, rng, shuffles=how.shuffles, level=how.level, statistic=statistic
        )
        return Row(
            f"{direction}_{name}", system, interval.value, interval.low, interval.high,
            len(values), chance, floor.value, None, floor.low, floor.high, note,
        )  # fmt: skip

    def hits(k: int) -> tuple[NDArray[Any], NDArray[Any], float]:
        return (rank <= k - 1).double().numpy(), (table <= k - 1).astype(float), min(k / s, 1.0)

    return [
        row("top1", success, expected, 1 / n, note=note),
        row("full_top1", *hits(1)),
        row("full_top5", *hits(5)),
        row("median_rank", rank.numpy(), table, (s - 1) / 2, np.median, "0 is best"),
    ]


def picture_rows(
    system: str,
    images: Tensor,
    reference: Tensor,
    extractors: Sequence[FeatureExtractor] = (),
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceilings: Ceilings | None = None,
    size: int | None = pixels.NSD_SIZE,
) -> list[Row]:
    """PixCorr, SSIM and one row per feature network.

    Parameters
    ----------
    system : str
        Name of what made the pictures.
    images, reference : Tensor (N, 3, H, W)
        Reconstructions and pictures seen, float in [0, 1], in the same order.
    extractors : sequence of FeatureExtractor
        Each gives ``two_way_<name>`` or ``distance_<name>``.
    rng : numpy.random.Generator
        Shuffles and resamples.
    scoring : Scoring
        Resamples, level, shuffles.
    ceilings : mapping, optional
        Metric name to the score of the best possible system.
    size : int or None
        Side at which pixel metrics are computed.
    """
    how = scoring or Scoring()
    n = len(images)

    def slow_row(name: str, score: Any) -> Row:
        interval = _interval(score(images, reference, size=size), rng, how)

        def shuffled(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
            some = slice(how.slow_stimuli)
            pair = images[torch.from_numpy(left[some])], reference[torch.from_numpy(right[some])]
            return float(score(*pair, size=size).mean())

        floor = controls.shuffled_floor_of(shuffled, n, rng, shuffles=how.slow_shuffles)
        return Row(
            name, system, interval.value, interval.low, interval.high, n, None,
            floor.value, None, floor.low, floor.high, f"at {size or reference.shape[-1]} px",
        )  # fmt: skip

    rows = [slow_row("PixCorr", pixels.pixcorr), slow_row("SSIM", pixels.ssim)]
    for extractor in extractors:
        predicted, actual = extractor.extract(images), extractor.extract(reference)
        rows.append(_feature_row(system, extractor, predicted, actual, rng, how))
    return _with_ceilings(rows, ceilings)


def _feature_row(
    system: str,
    extractor: FeatureExtractor,
    predicted: Tensor,
    actual: Tensor,
    rng: np.random.Generator,
    how: Scoring,
) -> Row:
    if extractor.comparison == "two_way":
        table = identification.two_way_table(predicted, actual)
        chance = 0.5
    else:
        table = identification.distance_table(predicted, actual)
        chance = 1.0
    interval = _interval(np.diagonal(table).copy(), rng, how)
    floor = controls.shuffled_floor(table, rng, shuffles=how.shuffles, level=how.level)
    return Row(
        f"{extractor.comparison}_{extractor.name}", system, interval.value, interval.low,
        interval.high, len(table), chance, floor.value, None, floor.low, floor.high,
        note="lower is better" if extractor.comparison == "distance" else "",
    )  # fmt: skip


def effective_rank_row(system: str, predicted: Tensor, actual: Tensor) -> Row:
    """Dimensions that the predictions use; the ceiling is what the true embeddings use."""
    return Row(
        "effective_rank", system, controls.effective_rank(predicted), None, None,
        len(predicted), None, 1.0, controls.effective_rank(actual), None, None,
        note="participation ratio; ceiling: the true embeddings",
    )  # fmt: skip


def write_table(
    rows: Sequence[Row],
    missing: Sequence[Missing],
    folder: Path,
    *,
    scoring: Scoring | None = None,
) -> None:
    """Write ``metrics.json`` and ``metrics.csv`` atomically.

    The JSON holds ``rows``, the metrics that could not be computed with reason and remedy
    (``missing``), and the scoring settings.

    Raises
    ------
    DataError
        If a metric of a system is there twice or a number is not finite.
    """
    names = [(row.metric, row.system) for row in rows]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"metrics reported twice: {twice}")
    records = [dataclasses.asdict(row) for row in rows]
    for record in records:
        bad = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
        if bad:
            raise DataError(f"{record['metric']} of {record['system']} has no finite {bad}")
    how = scoring or Scoring()
    content = {
        "rows": records,
        "missing": [{"metric": m.metric, "why": m.why, "how": m.how} for m in missing],
        "n_candidates": how.candidates,
        "draws": how.draws,
        "resamples": how.resamples,
        "level": how.level,
    }
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_text(folder / "metrics.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    columns = [field.name for field in dataclasses.fields(Row)]
    frame = pd.DataFrame.from_records(records, columns=columns)
    runs.write_text(folder / "metrics.csv", frame.to_csv(index=False))


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a ``metrics.json``."""
    return [Row(**record) for record in runs.read_json(path)["rows"]]


def _interval(
    values: NDArray[Any], rng: np.random.Generator, how: Scoring, statistic: Statistic = np.mean
) -> Interval:
    return bootstrap_interval(
        values, rng, level=how.level, resamples=how.resamples, statistic=statistic
    )


def _with_ceilings(rows: list[Row], ceilings: Ceilings | None) -> list[Row]:
    known = ceilings or {}
    return [dataclasses.replace(row, ceiling=known.get(row.metric)) for row in rows]
