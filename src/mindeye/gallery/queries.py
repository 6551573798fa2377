"""What a gallery is asked with: embeddings, or a picture that its encoder embeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.datasets.picture_folder import SUFFIXES
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import open_array
from mindeye.gallery.build import UNIT_WITHIN
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.sources import embedded, gallery_encoder
from mindeye.gallery.store import VectorSpace
from mindeye.gallery.vectors import unit_rows


class Queries(NamedTuple):
    """What is looked up.

    Attributes
    ----------
    vectors
        Vectors (Q, D) of any float type and norm, each with a direction.
    names
        Names of the queries, for the answers.
    notes
        What is worth telling of them.
    """

    vectors: NDArray[Any]
    names: list[str]
    notes: list[str]


def queries_of(source: Path, space: VectorSpace, gallery: object, *, weights: str = "") -> Queries:
    """Return the queries in a file: an .npy of embeddings, or a picture.

    Parameters
    ----------
    source
        File .npy of (Q, D), (Q, 1, D) or (D,); or a picture, which the gallery's own encoder
        embeds.
    space, gallery
        Space of the gallery that is asked, and its name for messages.
    weights
        Folder of fetched models.

    Raises
    ------
    DataError
        If the file is malformed, or of another width than the gallery.
    UsageError
        If it is neither.
    ConfigError
        If it is a picture and the gallery's encoder is not known here.
    """
    if source.suffix == ".npy":
        return queries_from(open_array(source, "give embeddings (Q, D)"), space, gallery, source)
    if source.suffix.lower() in SUFFIXES:
        picture = read_picture(source)
        if not space.name:
            raise ConfigError(
                f"{gallery} does not tell its encoder by name; embed {source.name} yourself and "
                "give it as .npy"
            )
        tokens: Any = space.tokens
        encoder, own = gallery_encoder(SourceConfig(space.name, tokens, weights))
        vectors = embedded([picture], encoder)
        return queries_from(vectors, space, gallery, source, own=own, names=[source.name])
    raise UsageError(
        f"{source} is no query: give embeddings as .npy, a picture ({', '.join(SUFFIXES)}) or the "
        "folder of a run"
    )


def queries_from(
    vectors: NDArray[Any],
    space: VectorSpace,
    gallery: object,
    what: object,
    *,
    own: VectorSpace | None = None,
    names: Sequence[str] = (),
) -> Queries:
    """Return embeddings as queries, after a look at whether they belong to the gallery.

    Parameters
    ----------
    vectors
        Embeddings (Q, D), (Q, K, D) of which all tokens count, or (D,); any float type and norm.
    space, gallery
        Space of the gallery that is asked, and its name for messages.
    what
        Name of the queries for messages.
    own
        Encoder and width of the queries; None where only the width is known.
    names
        Names of the queries; by default their numbers.

    Raises
    ------
    DataError
        If they are no embeddings, hold NaN, or lie in another space; both are named.
    """
    shape = vectors.shape
    if vectors.dtype.kind != "f" or vectors.ndim not in (1, 2, 3) or not vectors.size:
        raise DataError(f"{what} holds {vectors.dtype} of shape {shape}; queries are floats (Q, D)")
    flat = vectors[None] if vectors.ndim == 1 else vectors.reshape(len(vectors), -1)
    space.refuse_other(own or VectorSpace("", int(flat.shape[1])), what, gallery)
    _, norms = unit_rows(flat, str(what))
    changed = int((np.abs(norms - 1) > UNIT_WITHIN).sum())
    notes = [f"{changed} of {len(flat)} queries were not of norm 1 and were normalised"]
    given = list(names) or [str(row) for row in range(len(flat))]
    return Queries(flat, given, notes if changed and own is None else [])
