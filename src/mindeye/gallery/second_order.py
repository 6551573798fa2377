"""Second-order selection: of the nearest by pooled embedding, the one nearest by all tokens.

A gallery of billions can be searched by one vector a picture, not by all its tokens. MindEye (arXiv
2305.18274, its retrieval from LAION-5B) so asks for the 16 nearest pictures by a predicted pooled
embedding of 1 x 768, embeds these 16 with all 257 x 768 tokens, and takes the one whose tokens are
nearest to those predicted. Scores of either order are cosines, the second's of flattened tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.gallery.exact import NOTHING, RESOLUTION, unit_rows
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.pictures import Picture
from mindeye.gallery.sources import embedded
from mindeye.progress import track
from mindeye.targets.encoders import Encoder

NEIGHBOURS = 16
"""How many neighbours the paper selects from."""


class Selection(NamedTuple):
    """What the second order says of the answers of the first.

    Attributes
    ----------
    scores
        Cosines (Q, k) float32 in [-1, 1] of flattened tokens, in the order of the first order's
        answers; -inf where there is no row.
    ranks
        Rank (Q, k) int64 from 0 of every answer by these scores; equal ones in first order.
    picks
        First-order rank (Q,) int64 of the answer of second-order rank 0.
    """

    scores: NDArray[np.float32]
    ranks: NDArray[np.int64]
    picks: NDArray[np.int64]


def select(
    gallery: Gallery,
    rows: NDArray[np.int64],
    tokens: NDArray[Any],
    encoder: Encoder,
    *,
    root: Path | None = None,
    batch_size: int = 64,
) -> Selection:
    """Put the answers (Q, k) of a first search, -1 for none, in the order of all their tokens.

    Every picture is read and embedded once, however many queries found it, and only a batch of them
    is held at a time. The predicted tokens (Q, K, D) may be memory-mapped. Raises DataError if they
    are not those of the encoder or not finite, or the picture of an answer is missing; names it.
    """
    if tokens.shape != (len(rows), encoder.tokens, encoder.width):
        raise DataError(
            f"the predicted tokens have shape {tokens.shape}; {encoder.id} gives "
            f"{encoder.tokens} x {encoder.width}, and there are {len(rows)} queries"
        )
    scores = np.full(rows.shape, -np.inf, dtype=np.float32)
    answers = np.unique(rows[rows != NOTHING])
    pictures = answer_pictures(gallery, answers, root=root)
    for first in track(range(0, len(answers), batch_size), "second order"):
        own = answers[first : first + batch_size]
        batch = list(islice(pictures, len(own)))
        near, _ = unit_rows(embedded(batch, encoder), f"{encoder.id} of rows of {gallery.path}")
        for q in np.flatnonzero(np.isin(rows, own).any(axis=1)):
            places = np.flatnonzero(np.isin(rows[q], own))
            brain, _ = unit_rows(tokens[q].reshape(1, -1), "predicted tokens", first=int(q))
            # einsum adds up every row in the same order, so that equal tokens have equal scores.
            mine = near[np.searchsorted(own, rows[q, places])]
            scores[q, places] = np.einsum("rd,d->r", mine, brain[0])
    return ranked(scores)


def ranked(scores: NDArray[np.float32]) -> Selection:
    """Rank answers (Q, k), which are in first order, by their second-order scores.

    Scores closer than the rounding of an embedding computed in another batch count as equal, and
    equal ones stay in first order.
    """
    places = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.lexsort((places, -np.round(scores / RESOLUTION)), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, places, axis=1)
    return Selection(scores, ranks, order[:, 0])


def answer_pictures(
    gallery: Gallery, rows: NDArray[np.int64], *, root: Path | None = None
) -> Iterator[Picture]:
    """Yield the pictures (H, W, 3) of rows; raises DataError of one that is missing, by name."""
    for row, picture in zip(rows, gallery.pictures(rows, root=root), strict=True):
        if picture is None:
            line = gallery.table(np.array([row])).iloc[0]
            below = root or (gallery.info.folder_of(row) if gallery.has_vectors else gallery.path)
            raise DataError(
                f"the picture of row {row} of {gallery.path} (id {line['id']!r}) is missing or not "
                f"readable: {line['where'] or 'nowhere'} below {below}; put it back, or name "
                "the folder of the pictures with --root"
            )
        yield picture


def is_without_pictures(
    gallery: Gallery, rows: NDArray[np.int64], *, root: Path | None = None
) -> bool:
    """Tell whether a gallery is of embeddings alone, by a look at some rows of it.

    A gallery that was built from pictures is not, even if they have gone since.
    """
    if root is not None or {"pictures", "shards"} & set(gallery.info.roots.values()):
        return False
    return all(picture is None for picture in gallery.pictures(rows))
