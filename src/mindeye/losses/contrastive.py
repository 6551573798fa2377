"""Contrastive losses between predicted embeddings and a gallery of target embeddings.

All take flattened embeddings whose rows are already of unit length (`unit_rows`): predictions
(Q, D) and targets (G, D) with G >= Q, target i belonging to prediction i. What lies beyond row Q of
the targets serves as distractors for the predictions and asks no question of its own.
The losses are in nats, at least 0 for hard targets; a prediction that knows nothing scores log(G).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mindeye.losses.mixco import MixCo, mixco_targets

BIMIXCO_TEMPERATURE = 0.006
"""Temperature of the first third of training (published code)."""

SOFT_CLIP_TEMPERATURES = (0.004, 0.0075)
"""Where the temperature of the SoftCLIP phase begins and ends (published code)."""

SOFT_CONTRASTIVE_TEMPERATURE = 0.075
"""Temperature of the low-level model's loss on maps (published code)."""


def unit_rows(embedding: Tensor) -> Tensor:
    """Flatten (N, ...) to (N, D) and divide every row by its L2 norm."""
    return functional.normalize(embedding.flatten(1), dim=1)


def bimixco_loss(
    prediction: Tensor,
    target: Tensor,
    mix: MixCo | None = None,
    *,
    temperature: float = BIMIXCO_TEMPERATURE,
    bidirectional: bool = True,
    as_published: bool = False,
) -> Tensor:
    """Cross-entropy between softmax similarities and the MixCo targets (paper, equation 2).

    Parameters
    ----------
    prediction, target
        (Q, D) and (G, D), G >= Q, unit rows.
    mix
        How the betas behind `prediction` were mixed; None is plain InfoNCE.
    temperature
        Positive divisor of the similarities.
    bidirectional
        Mean of brain to image and image to brain; else brain to image alone.
    as_published
        Targets with the published mistake, see `mixco_targets`.

    Returns
    -------
    Tensor
        Scalar, mean over queries.
    """
    _check_pair(prediction, target)
    queries = len(prediction)
    logits = prediction @ target.T / temperature  # (Q, G)
    labels = (
        torch.eye(queries, device=logits.device, dtype=logits.dtype)
        if mix is None
        else mixco_targets(mix, as_published=as_published).to(logits.dtype)
    )  # (Q, Q)
    forward = _cross_entropy(logits, functional.pad(labels, (0, logits.shape[1] - queries)))
    if not bidirectional:
        return forward
    return (forward + _cross_entropy(logits[:, :queries].T, labels.T)) / 2


def info_nce_loss(
    prediction: Tensor,
    target: Tensor,
    *,
    temperature: float,
    bidirectional: bool = True,
) -> Tensor:
    """InfoNCE: each prediction (Q, D) names its target among (G, D), and the other way round."""
    return bimixco_loss(prediction, target, temperature=temperature, bidirectional=bidirectional)


def soft_clip_loss(prediction: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """SoftCLIP: the similarities of the targets among themselves are the labels.

    The paper's equation 3; both directions are averaged.

    Parameters
    ----------
    prediction, target
        (Q, D) and (G, D), G >= Q, unit rows.
    temperature
        Positive; divides both the logits and the labels' logits.
    """
    return soft_contrastive_loss(prediction, target, target, temperature=temperature)


def soft_contrastive_loss(
    prediction: Tensor,
    target: Tensor,
    target_augmented: Tensor,
    *,
    temperature: float = SOFT_CONTRASTIVE_TEMPERATURE,
) -> Tensor:
    """Match the similarity of targets to their augmented views (low-level maps, appendix A.4).

    Parameters
    ----------
    prediction
        (Q, D) the student.
    target, target_augmented
        (G, D) two views of the same images, G >= Q; the student answers to the second view as the
        first one does.
    temperature
        Positive divisor of the similarities.
    """
    _check_pair(prediction, target)
    if target.shape != target_augmented.shape:
        raise ValueError(
            f"target {tuple(target.shape)} and target_augmented {tuple(target_augmented.shape)} "
            "must be two views of the same images"
        )
    queries = len(prediction)
    logits = prediction @ target_augmented.T / temperature  # (Q, G)
    teacher = target[:queries] @ target_augmented.T / temperature  # (Q, G)
    brain_to_image = _cross_entropy(logits, teacher.softmax(-1))
    image_to_brain = _cross_entropy(
        logits[:, :queries].T, teacher[:, :queries].T.softmax(-1)
    )  # rows: images
    return (brain_to_image + image_to_brain) / 2


def cosine_between(start: float, end: float, progress: float) -> float:
    """Go from `start` (progress 0 or less) to `end` (1 or more) along half a cosine.

    `end + (start - end) (1 + cos(pi progress)) / 2`; the SoftCLIP temperature (published code).
    """
    share = min(max(progress, 0.0), 1.0)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over rows of `-sum labels * log_softmax(logits)`."""
    return -(logits.log_softmax(-1) * labels).sum(-1).mean()


def _check_pair(prediction: Tensor, target: Tensor) -> None:
    if prediction.ndim != 2 or target.ndim != 2 or prediction.shape[1] != target.shape[1]:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} "
            "must be (Q, D) and (G, D); flatten tokens with unit_rows"
        )
    if len(target) < len(prediction):
        raise ValueError(f"{len(prediction)} predictions but only {len(target)} targets")
