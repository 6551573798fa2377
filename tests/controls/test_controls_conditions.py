"""Claims about trials averaged, candidates, regions, halves and permutations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mindeye.controls import (
    collapse,
    noise_ceiling,
    regions,
    repeats,
    spread,
)
from mindeye.controls.measures import Measure
from mindeye.data.simulate import simulate
from mindeye.data.trials import trials_by_stimulus
from mindeye.errors import DataError
from mindeye.metrics.floors import permutation_p
from mindeye.metrics.points import Point
from mindeye.metrics.retrieval_rows import rows_from_scores
from mindeye.metrics.scoring import Scoring
from small_simulation import SMALL

HOW = Scoring(resamples=400)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def two_way(values: np.ndarray, system: str = "s") -> Measure:
    return Measure(system, "two_way_x", np.asarray(values, float), 0.5)


def by_condition(points: list[Point]) -> dict[str, Point]:
    return {point.condition: point for point in points}


# Trials averaged.


def noisy_hits(noise: float, seed: int = 0) -> np.ndarray:
    """Two-way scores of 80 stimuli against 20 others each, from signals of that much noise."""
    draw = rng(seed)
    truth, others = draw.normal(size=(80, 1, 8)), draw.normal(size=(80, 20, 8))
    seen = truth + noise * draw.normal(size=truth.shape)
    own, other = (seen * truth).sum(-1), (seen * others).sum(-1)
    return np.asarray((own > other).mean(axis=1))


def test_a_curve_that_noise_explains_rises_in_the_order_of_trials() -> None:
    curve = {n: [two_way(noisy_hits(4 / np.sqrt(n)))] for n in (3, 1, 2)}
    points, (finding,) = repeats.trials_curve(curve, rng=rng(), scoring=HOW)
    assert [point.condition for point in points] == ["1 trial", "2 trials", "3 trials"]
    assert points[0].value < points[1].value < points[2].value
    assert all(point.reference == points[2].value for point in points)
    assert finding.passed
    assert finding.text.startswith("Rises with trials averaged")


def test_a_score_that_does_not_care_for_noise_is_warned_of() -> None:
    same = noisy_hits(2.0)
    curve = {n: [two_way(same)] for n in (1, 2, 3)}
    _, (finding,) = repeats.trials_curve(curve, rng=rng(), scoring=HOW)
    assert not finding.passed
    assert finding.text.startswith("Does not rise with trials averaged")


def test_no_rise_is_asked_for_at_the_limit_or_at_chance() -> None:
    def text(first: np.ndarray, last: np.ndarray) -> str:
        curve = {1: [two_way(first)], 3: [two_way(last)]}
        _, (finding,) = repeats.trials_curve(curve, rng=rng(), scoring=HOW)
        assert finding.passed
        return finding.text

    assert text(np.full(50, 0.99), np.full(50, 0.99)).startswith("One trial is at the limit 1.000")
    assert text(np.full(50, 0.5), np.full(50, 0.5)).startswith("Even averaged, at chance")
    few = rng().random(6) * 0.4 + 0.55
    assert text(few, few[::-1]).startswith("Too few stimuli to see a rise")


def test_ranks_rise_downwards() -> None:
    def rank(values: np.ndarray) -> Measure:
        return Measure("s", "brain_to_image_median_rank", values, 20.0)

    draw = rng()
    curve = {1: [rank(draw.integers(5, 15, 60) * 1.0)], 2: [rank(draw.integers(0, 8, 60) * 1.0)]}
    _, (finding,) = repeats.trials_curve(curve, rng=rng(), scoring=HOW)
    assert finding.text.startswith("Rises with trials averaged")


def test_trials_of_other_metrics_or_numbers_are_named() -> None:
    with pytest.raises(DataError, match="2 trials have other metrics than 1"):
        repeats.trials_curve({1: [two_way(np.ones(3))], 2: []}, rng=rng())
    with pytest.raises(DataError, match="must be 1 and up"):
        repeats.trials_curve({0: []}, rng=rng())
    with pytest.raises(DataError, match="4 and 3 stimuli do not pair up"):
        repeats.trials_curve({1: [two_way(np.ones(3))], 2: [two_way(np.ones(4))]}, rng=rng())


# Candidates.


def test_candidates_by_hand() -> None:
    scores = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 4.0]])
    picks = np.array([1, 0, 0])
    points, (finding,) = spread.candidate_spread(
        two_way(np.zeros(0)), scores, picks, rng=rng(), scoring=HOW
    )
    found = {name: point.value for name, point in by_condition(points).items()}
    assert found == pytest.approx(
        {
            "candidate 1": 1.0,
            "candidate 2": 7 / 3,
            "k = 1": 5 / 3,
            "sd within stimulus": (np.sqrt(2) + 0 + np.sqrt(2)) / 3,
            "picked": (2 + 1 + 2) / 3,
            "best of n": (2 + 1 + 4) / 3,
            "gain of picking": 0.0,
        }
    )
    assert by_condition(points)["picked"].reference == pytest.approx(5 / 3)
    assert finding.passed


def test_the_best_candidate_and_the_gain_follow_the_direction_of_the_metric() -> None:
    distance = Measure("s", "distance_x", np.zeros(0), 1.0)
    scores = np.array([[0.2, 0.9], [0.6, 0.5]])
    points, _ = spread.candidate_spread(distance, scores, np.array([0, 1]), rng=rng(), scoring=HOW)
    found = by_condition(points)
    assert found["best of n"].value == pytest.approx(0.35)
    assert found["gain of picking"].value == pytest.approx(0.2)


def test_a_choice_that_saw_the_answer_is_warned_of_and_a_blind_one_is_not() -> None:
    scores = rng().random((4, 50))
    blind = rng(1).integers(0, 4, 50)
    for picks, passed in ((scores.argmax(axis=0), False), (blind, True)):
        _, (finding,) = spread.candidate_spread(
            two_way(np.zeros(0)), scores, picks, rng=rng(), scoring=HOW
        )
        assert finding.passed is passed
    assert "the choice may have seen the answer" not in finding.text


def test_candidates_that_score_alike_say_nothing_of_the_choice() -> None:
    scores = np.ones((3, 40))
    _, (finding,) = spread.candidate_spread(
        two_way(np.zeros(0)), scores, np.zeros(40, int), rng=rng(), scoring=HOW
    )
    assert finding.passed


def test_spreads_of_nothing_are_named() -> None:
    with pytest.raises(DataError, match="2 candidates at least"):
        spread.candidate_spread(two_way(np.zeros(0)), np.ones((1, 4)), rng=rng())
    with pytest.raises(DataError, match="one of 2 candidates for each of 3 stimuli"):
        spread.candidate_spread(
            two_way(np.zeros(0)), np.ones((2, 3)), np.array([0, 1, 2]), rng=rng()
        )
    with pytest.raises(DataError, match="scores of candidates contain NaN"):
        spread.candidate_spread(two_way(np.zeros(0)), np.full((2, 3), np.nan), rng=rng())


# Regions.


def test_regions_are_held_against_all_voxels_and_as_many_random_ones() -> None:
    draw = rng()
    hard = draw.random(60) * 0.3 + 0.6
    early, without = hard - 0.1, hard - 0.02
    drawn = hard - 0.2 + 0.01 * draw.normal(size=60)
    region = regions.Region("early", 50, [two_way(early)], [two_way(without)], [two_way(drawn)])
    points, (finding,) = regions.region_ablation([two_way(hard)], [region], rng=rng(), scoring=HOW)
    found = by_condition(points)
    assert found["early alone less all voxels"].value == pytest.approx(-0.1)
    assert found["early alone less all voxels"].high == pytest.approx(-0.1)
    assert found["without early less all voxels"].value == pytest.approx(-0.02)
    assert found["early alone"].reference == pytest.approx(hard.mean())
    assert "as many random voxels as early" in found
    assert finding.passed
    assert finding.text.startswith("early (50 voxels) says more than as many random voxels")


def test_a_region_says_less_by_a_distance_that_is_larger() -> None:
    def distance(values: np.ndarray) -> list[Measure]:
        return [Measure("s", "distance_x", values, 1.0)]

    region = regions.Region("early", 5, distance(np.full(9, 0.9)), None, distance(np.full(9, 0.4)))
    _, (finding,) = regions.region_ablation(
        distance(np.full(9, 0.3)), [region], rng=rng(), scoring=HOW
    )
    assert "says less than" in finding.text


def test_regions_of_other_metrics_are_named() -> None:
    other = [Measure("s", "SSIM", np.ones(4))]
    with pytest.raises(DataError, match="early alone: SSIM of 4 stimuli does not pair up"):
        regions.region_ablation([two_way(np.ones(4))], [regions.Region("early", 3, other)],
                                rng=rng())  # fmt: skip
    with pytest.raises(DataError, match="no score by two_way_x"):
        regions.region_ablation([two_way(np.ones(4))], [regions.Region("early", 3, [])],
                                rng=rng())  # fmt: skip


# Halves of the trials.


def test_halves_are_correlated_by_weighted_pearson_of_z_scored_voxels() -> None:
    betas, weights = rng().normal(size=(10, 6)), rng(1).random(6)
    trials = [np.array([2 * i, 2 * i + 1]) for i in range(5)]
    found = noise_ceiling.match_halves(betas, trials, weights, rng=rng(3))
    draw, halves = rng(3), []
    for rows in trials:
        halves.append(draw.permutation(rows))
    a, b = (stats.zscore(betas[[half[k] for half in halves]], axis=0) for k in (0, 1))
    for i in range(5):
        for j in range(5):
            covariance = np.cov(a[i], b[j], aweights=weights)
            r = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
            assert found.scores[i, j].item() == pytest.approx(r)
    assert found.note.endswith("1 against 1")


def test_repeats_of_a_clean_brain_find_each_other_and_of_noise_do_not() -> None:
    made = simulate(SMALL, 0)
    trials = trials_by_stimulus(made.trials)
    train, test = ([trials[s] for s in ids] for ids in (made.ids[:60], made.ids[60:]))
    reliability = noise_ceiling.training_reliability(made.betas, train)
    assert np.corrcoef(reliability, made.ceilings)[0, 1] > 0.5
    found = noise_ceiling.match_halves(made.betas, test, reliability, rng=rng())
    rows = rows_from_scores("noise_ceiling", found.scores, rng=rng(), scoring=HOW)
    scores = {one.row.metric: one.row.value for one in rows}
    assert scores["brain_to_image_full_top1"] > 0.8
    assert (found.picks == np.arange(20)).mean() == scores["brain_to_image_full_top1"]
    noise = rng().normal(size=made.betas.shape)
    values = [
        float((noise_ceiling.match_halves(noise, test, np.ones(120), rng=rng(k)).picks
               == np.arange(20)).mean())
        for k in range(40)
    ]  # fmt: skip
    assert np.mean(values) < 0.15


def test_reliability_lifts_the_match_where_most_voxels_are_noise() -> None:
    draw = rng()
    signal = np.repeat(draw.normal(size=(80, 10)), 2, axis=0)
    betas = np.hstack([signal, np.zeros((160, 300))]) + 0.5 * draw.normal(size=(160, 310))
    trials = [np.array([2 * i, 2 * i + 1]) for i in range(80)]
    weights = noise_ceiling.training_reliability(betas, trials[:40])
    plain, weighted = (
        (noise_ceiling.match_halves(betas, trials[40:], w, rng=rng()).picks == np.arange(40)).mean()
        for w in (np.ones(310), weights)
    )
    assert weighted > plain + 0.2


def test_stimuli_shown_once_are_left_out_and_halves_are_named() -> None:
    betas = rng().normal(size=(9, 4))
    trials = [np.array([0]), np.array([1, 2, 3]), np.array([4, 5]), np.array([6, 7, 8])]
    found = noise_ceiling.match_halves(betas, trials, np.ones(4), rng=rng())
    assert found.kept.tolist() == [1, 2, 3]
    assert found.scores.shape == (3, 3)
    assert found.note.endswith("1 against 1 or 1 against 2")
    with pytest.raises(DataError, match="2 repeated test stimuli at least, got 1"):
        noise_ceiling.match_halves(betas, trials[:2], np.ones(4), rng=rng())
    with pytest.raises(DataError, match="do not fit 4 voxels"):
        noise_ceiling.match_halves(betas, trials, np.ones(3), rng=rng())
    with pytest.raises(DataError, match="no voxel has a weight"):
        noise_ceiling.match_halves(betas, trials, np.zeros(4), rng=rng())
    np.testing.assert_array_equal(
        noise_ceiling.training_reliability(betas, [np.array([0]), np.array([1])]), np.ones(4)
    )


# Permutations.


def test_the_real_score_counts_among_the_permuted_ones() -> None:
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert permutation_p(0.5, null) == 1 / 5
    assert permutation_p(0.3, null) == 3 / 5
    assert permutation_p(0.15, null, higher_is_better=False) == 2 / 5
    with pytest.raises(DataError, match="finite scores, got 0 permuted"):
        permutation_p(0.5, np.zeros(0))


def test_without_signal_p_is_uniform() -> None:
    draw = rng()
    p = [permutation_p(draw.random(), draw.random(19)) for _ in range(2000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p) == pytest.approx((1 + 20) / 2 / 20, abs=0.02)


# Collapse.


def test_the_share_outside_the_span_is_that_of_a_right_triangle() -> None:
    training = np.zeros((6, 8))
    training[:, :3] = rng().normal(size=(6, 3))
    span = collapse.training_span(training, rng=rng())
    assert span.axes.shape == (8, 3)
    inside, outside = np.zeros(8), np.zeros(8)
    inside[0], outside[5] = 3.0, 4.0
    rows = span.mean + np.stack([inside, outside, inside + outside, np.zeros(8)])
    np.testing.assert_allclose(collapse.out_of_span(rows, span), [0, 1, 16 / 25, 0], atol=1e-6)


def test_a_linear_map_never_leaves_the_span_of_its_few_training_targets() -> None:
    draw = rng()
    brains, targets = draw.normal(size=(20, 15)), draw.normal(size=(20, 60))
    weights = np.linalg.lstsq(brains, targets - targets.mean(0), rcond=None)[0]
    predicted = draw.normal(size=(9, 15)) @ weights + targets.mean(0)
    actual = draw.normal(size=(9, 60))
    span = collapse.training_span(targets, rng=rng())
    row, values = collapse.out_of_span_row(
        "linear", predicted, actual, span, rng=rng(), scoring=HOW
    )
    assert row.value < 1e-6
    assert values is not None
    assert row.ceiling == pytest.approx(1 - 19 / 60, abs=0.1)
    assert row.note.startswith("outside all 19 dimensions of the training targets")


def test_where_the_span_is_everything_the_leading_components_are_taken() -> None:
    training = rng().normal(size=(500, 5)) * [10, 10, 10, 0.1, 0.1]
    span = collapse.training_span(training, rng=rng())
    assert span.axes.shape == (5, 3)
    assert span.note == "the 3 dimensions with 99% of the training variance"
    shares = collapse.out_of_span(span.mean + np.eye(5), span)
    np.testing.assert_allclose(shares, [0, 0, 0, 1, 1], atol=1e-2)


def test_more_training_stimuli_than_needed_are_thinned_and_the_note_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collapse, "MOST_TRAINING", 10)
    span = collapse.training_span(torch.randn(30, 40), rng=rng())
    assert span.note.endswith("of 10 training stimuli out of 30")
    with pytest.raises(DataError, match="all training embeddings are equal"):
        collapse.training_span(np.ones((5, 3)), rng=rng())
    with pytest.raises(DataError, match="embeddings have 4 features, training 40"):
        collapse.out_of_span(np.ones((2, 4)), span)
