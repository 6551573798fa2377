"""Every control catches its planted fault, and none cries at a sound decoder."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from planted_decoders import (
    Planted,
    Rows,
    classifying,
    collapsed,
    looking_up,
    noise_like,
    planted_subject,
    shuffled,
    sound,
)

from mindeye.controls import (
    clusters,
    collapse,
    held_out,
    measures,
    nearness,
    strata,
)
from mindeye.controls.references import floor_findings
from mindeye.data.images import to_images
from mindeye.metrics.points import Finding
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Scored
from mindeye.preparation.clusters import cluster_split
from mindeye.preparation.leaks import check_leaks
from mindeye.targets.encoders import load_encoder

HOW = Scoring(resamples=500, shuffles=100)
WEAK = 40.0
"""Noise that leaves a sound decoder no better than a classifying one: about 0.85 in two-way."""


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_subject()


def rows_of(planted: Planted, predicted: Rows, seed: int) -> list[Scored]:
    mean = torch.from_numpy(planted.training.mean(axis=0))
    return retrieval_rows(
        "planted",
        torch.from_numpy(predicted) - mean,
        torch.from_numpy(planted.test) - mean,
        rng=np.random.default_rng(seed),
        scoring=HOW,
    )


def value(rows: list[Scored], metric: str) -> float:
    return next(one.row.value for one in rows if one.row.metric == metric)


def clusters_say(planted: Planted, predicted: Rows, seed: int) -> dict[str, Finding]:
    rng = np.random.default_rng(seed)
    mean = planted.training.mean(axis=0)
    scores = clusters.cosine_scores(
        "planted", "brain_to_image", predicted - mean, planted.test - mean
    )
    labels = {
        "pictures": clusters.cluster_labels(planted.test, rng=rng, training=planted.training),
        "predictions": clusters.prediction_labels(predicted, rng=rng, training=planted.training),
    }
    found = {}
    for by in clusters.WAYS:
        points, (finding,) = clusters.same_cluster(scores, labels[by], by=by, rng=rng, scoring=HOW)
        assert finding.control == points[0].control
        found[by] = finding
    return found


def collapse_says(planted: Planted, predicted: Rows) -> Finding:
    pair = (torch.from_numpy(predicted), torch.from_numpy(planted.test))
    (finding,) = collapse.collapse_findings([collapse.effective_rank_row("planted", *pair)])
    return finding


def strata_say(planted: Planted, training: Rows, rows: list[Scored], seed: int) -> list[Finding]:
    rng = np.random.default_rng(seed)
    near = nearness.nearness(planted.test, training, rng=rng)
    found = measures.measures_of(rows)
    return strata.stratified(near.similarity, found, rng=rng, scoring=HOW)[1]


def held_out_says(planted: Planted, name: str, seed: int) -> Finding:
    """Split by cluster, predict what was held out, and ask where the predictions lie."""
    rng = np.random.default_rng(seed)
    every = planted.embeddings
    standard = (every - every.mean(axis=0)) / every.std(axis=0)
    ids = planted.simulation.ids
    train, test, labels = cluster_split(standard, ids, share=0.2, rng=rng, clusters=24)
    rows = [np.flatnonzero(np.isin(ids, names)) for names in (test, train)]
    held = held_out.HeldOut(every[rows[0]], labels[rows[0]], every[rows[1]], labels[rows[1]])
    predicted = {
        "classifying": lambda: classifying(held.actual, held.training, rng),
        "sound": lambda: sound(held.actual, rng),
    }[name]()
    _, (finding,) = held_out.held_out_clusters(name, predicted, held, rng=rng, scoring=HOW)
    return finding


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.1), (1, 1.0), (2, 3.0)])
def test_a_decoder_that_only_classifies_is_caught_by_same_cluster_distractors(
    planted: Planted, seed: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    predicted = classifying(planted.test, planted.training, rng, noise=noise)
    rows = rows_of(planted, predicted, seed)
    # It looks like a decoder: six times chance among the first five.
    assert value(rows, "brain_to_image_full_top5") > 0.25
    assert floor_findings(rows)[0].passed
    found = clusters_say(planted, predicted, seed)
    assert not found["predictions"].passed
    assert "tells clusters of pictures apart, not pictures" in found["predictions"].text


@pytest.mark.parametrize("seed", range(2))
def test_a_decoder_that_only_classifies_is_caught_by_the_cluster_held_out_split(
    planted: Planted, seed: int
) -> None:
    found = held_out_says(planted, "classifying", seed)
    assert not found.passed
    assert found.text.startswith("Predictions stay in trained clusters: the own, new cluster")


def test_a_leaky_split_with_a_decoder_that_looks_up_is_caught_by_the_audit(
    planted: Planted,
) -> None:
    rng = np.random.default_rng(0)
    leaky = np.concatenate([planted.training, planted.test[:30]])
    predicted = looking_up(sound(planted.test, rng), leaky)
    rows = rows_of(planted, predicted, 0)
    assert value(rows, "brain_to_image_full_top1") > 0.3
    assert floor_findings(rows)[0].passed
    near = nearness.nearness(planted.test, leaky, rng=rng)
    _, (finding,) = nearness.similarity_audit(near, planted.test_ids)
    assert not finding.passed
    assert finding.text.startswith("30 of 120 test pictures are near copies of training pictures")


def test_recompressed_copies_are_caught_by_embedding_and_by_thumbnails(planted: Planted) -> None:
    first = planted.simulation.config.train
    pictures = planted.simulation.pictures[first : first + 12]
    copies = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=60)
        copies.append(np.asarray(Image.open(file)))
    encoder = load_encoder("zoo", device=torch.device("cpu"))
    embedded = encoder.encode(to_images(np.stack(copies))).flatten(1).numpy()
    leaky = np.concatenate([planted.training, embedded])
    near = nearness.nearness(planted.test, leaky, rng=np.random.default_rng(0))
    assert np.flatnonzero(near.copies).tolist() == list(range(12))
    assert near.nearest[:12].tolist() == list(range(first, first + 12))

    names = planted.test_ids[:12]
    both = np.concatenate([pictures, np.stack(copies)])
    splits = {"test": names, "train": [f"{name} again" for name in names]}
    pairs = check_leaks(both, [*names, *splits["train"]], splits)
    assert sorted(pair.original for pair in pairs) == sorted(names)


def test_a_test_set_drawn_from_around_training_pictures_is_no_random_draw(
    planted: Planted,
) -> None:
    rng = np.random.default_rng(0)
    around = planted.training[:100] + noise_like(planted.training[:100], 0.5, rng)
    near = nearness.nearness(around, planted.training, rng=rng)
    assert not near.copies.any()
    _, (finding,) = nearness.similarity_audit(near, [str(i) for i in range(100)])
    assert not finding.passed
    assert "the test set is no random draw" in finding.text


def test_scores_that_rest_on_look_alikes_are_caught_by_the_strata(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    similarity = nearness.nearness(planted.test, planted.training, rng=rng).similarity
    near = similarity > np.median(similarity)
    predicted = np.where(near[:, None], sound(planted.test, rng), shuffled(planted.test, rng))
    rows = rows_of(planted, predicted, 0)
    assert floor_findings(rows)[0].passed
    (finding,) = strata_say(planted, planted.training, rows, 0)
    assert not finding.passed
    assert "scores rest on look-alikes in training" in finding.text


@pytest.mark.parametrize("seed", range(3))
def test_a_collapsed_decoder_is_caught_by_its_effective_rank(planted: Planted, seed: int) -> None:
    predicted = collapsed(planted.test, np.random.default_rng(seed))
    assert floor_findings(rows_of(planted, predicted, seed))[0].passed
    finding = collapse_says(planted, predicted)
    assert not finding.passed
    assert "collapsed onto a few" in finding.text


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_decoder_is_caught_by_the_floor(planted: Planted, seed: int) -> None:
    rows = rows_of(planted, shuffled(planted.test, np.random.default_rng(seed)), seed)
    (finding,) = floor_findings(rows)
    assert not finding.passed
    inside = [r.floor_low <= r.value <= r.floor_high for r, _ in rows]
    assert np.mean(inside) > 0.5


@pytest.mark.parametrize("noise", [12.0, WEAK])
@pytest.mark.parametrize("seed", range(2))
def test_a_sound_decoder_is_warned_of_by_no_control(
    planted: Planted, seed: int, noise: float
) -> None:
    rng = np.random.default_rng([7, seed])
    predicted = sound(planted.test, rng, noise=noise)
    rows = rows_of(planted, predicted, seed)
    near = nearness.nearness(planted.test, planted.training, rng=rng)
    findings = [
        *nearness.similarity_audit(near, planted.test_ids)[1],
        *strata_say(planted, planted.training, rows, seed),
        *clusters_say(planted, predicted, seed).values(),
        collapse_says(planted, predicted),
        *floor_findings(rows),
    ]
    if noise < WEAK:
        findings.append(held_out_says(planted, "sound", seed))
    assert len(findings) >= 6
    assert [finding.text for finding in findings if not finding.passed] == []
