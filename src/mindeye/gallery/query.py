"""What a gallery is asked with, and its answers as tables, JSON and a strip of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.datasets.picture_folder import SUFFIXES
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import open_array
from mindeye.gallery.base import Matches, unit_rows
from mindeye.gallery.build import UNIT_WITHIN, refuse_other_space
from mindeye.gallery.sources import SourceConfig
from mindeye.gallery.store import Gallery, Space


class Queries(NamedTuple):
    """What is looked up.

    Attributes
    ----------
    vectors
        (Q, D) float32 of norm 1.
    names
        Q names, for the answers.
    notes
        What was converted.
    """

    vectors: NDArray[np.float32]
    names: list[str]
    notes: list[str]


class Found(NamedTuple):
    """Answers: the matches, what is known of their rows (Q * k lines), what is to be said."""

    matches: Matches
    table: pd.DataFrame
    notes: list[str]


def queries_of(source: Path, gallery: Gallery, *, weights: str = "") -> Queries:
    """Return the queries in a file: an .npy of embeddings, or a picture.

    Queries of a run are made by whoever knows runs, with `queries_from`.

    Parameters
    ----------
    source
        .npy (Q, D), (Q, 1, D) or (D,); or a picture, which the gallery's own encoder embeds.
    gallery
        That is asked.
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
        array = open_array(source, "give embeddings (Q, D)")
        return queries_from(array, gallery, str(source))
    if source.suffix.lower() in SUFFIXES:
        picture, space = read_picture(source), gallery.info.space
        if not space.name:
            raise ConfigError(
                f"{gallery.path} does not tell its encoder by name; embed {source.name} yourself "
                "and give it as .npy"
            )
        from mindeye.gallery.source_pictures import embedded, gallery_encoder

        tokens: Any = space.tokens
        config = SourceConfig(encoder=space.name, encoder_tokens=tokens, weights=weights)
        encoder, own = gallery_encoder(config)
        vectors = embedded([picture], encoder)
        return queries_from(vectors, gallery, str(source), space=own, names=[source.name])
    raise UsageError(
        f"{source} is no query: give embeddings as .npy, a picture ({', '.join(SUFFIXES)}) or the "
        "folder of a run"
    )


def queries_from(
    vectors: NDArray[Any],
    gallery: Gallery,
    what: str,
    *,
    space: Space | None = None,
    names: Sequence[str] = (),
) -> Queries:
    """Return embeddings as queries, after a look at whether they belong to the gallery.

    Parameters
    ----------
    vectors
        (Q, D), (Q, 1, D) or (D,), any float type and norm.
    gallery
        That is asked.
    what
        What they are, for messages.
    space
        Their encoder and width; None where only the width is known.
    names
        Of the queries; by default their numbers.

    Raises
    ------
    DataError
        If they are no embeddings, hold NaN, or lie in another space; both are named.
    """
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim == 3 and vectors.shape[1] == 1:
        vectors = vectors[:, 0]
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) == 0:
        raise DataError(
            f"{what} holds {vectors.dtype} of shape {vectors.shape}; queries are floats (Q, D)"
        )
    theirs = space or Space("", int(vectors.shape[1]))
    refuse_other_space(theirs, gallery.info.space, what, gallery.path)
    unit, norms = unit_rows(vectors, what)
    changed = int((np.abs(norms - 1) > UNIT_WITHIN).sum())
    notes = [f"{changed} of {len(unit)} queries were not of norm 1 and were normalised"]
    given = list(names) or [str(row) for row in range(len(unit))]
    return Queries(unit, given, notes if changed and space is None else [])


def search_gallery(gallery: Gallery, queries: Queries, k: int) -> Found:
    """Look queries up.

    Parameters
    ----------
    gallery
        That is asked; its options hold at this search, see `Gallery.with_options`.
    queries
        Of its space.
    k
        Answers a query; more than the gallery has are capped, and that is said.

    Raises
    ------
    UsageError
        If k is less than 1.
    DataError
        If the gallery is empty or its index is missing.
    """
    if k < 1:
        raise UsageError(f"k is {k}; ask for at least 1")
    backend = gallery.backend()
    notes = list(queries.notes)
    if k > len(gallery):
        notes.append(f"k is {k}, the gallery has {len(gallery)}; that many are given")
    if not gallery.has_vectors:
        notes.append(
            "an index made elsewhere, without its vectors: scores are the index's own, not exact"
        )
    matches = backend.search(queries.vectors, min(k, len(gallery)))
    return Found(matches, gallery.metadata(matches.rows.reshape(-1)), notes)


def as_json(gallery: Gallery, queries: Queries, found: Found) -> dict[str, Any]:
    """Return answers as JSON: one entry a query, its rows, scores, ids, captions and urls."""
    k = found.matches.rows.shape[1]
    answers = []
    for q, name in enumerate(queries.names):
        own = found.table.iloc[q * k : (q + 1) * k]
        there = found.matches.rows[q] >= 0
        columns = {c: own[c][there].tolist() for c in ("id", "caption", "url", "where")}
        scores = [float(s) for s in found.matches.scores[q][there]]
        rows = found.matches.rows[q][there].tolist()
        answers.append({"query": name, "rows": rows, "scores": scores, **columns})
    space = gallery.info.space
    return {
        "gallery": str(gallery.path),
        "encoder": space.id,
        "width": space.width,
        "backend": gallery.info.backend,
        "options": gallery.info.options,
        "count": len(gallery),
        "k": k,
        "notes": found.notes,
        "queries": answers,
    }


def as_text(queries: Queries, found: Found, *, shown: int = 20) -> str:
    """Return answers as lines of text, of the first queries."""
    k = found.matches.rows.shape[1]
    lines = []
    for q, name in enumerate(queries.names[:shown]):
        lines.append(f"query {name}")
        for place in range(k):
            row, score = int(found.matches.rows[q, place]), found.matches.scores[q, place]
            if row < 0:
                continue
            line = found.table.iloc[q * k + place]
            told = "  ".join(" ".join(t.split())[:80] for t in (line["id"], line["caption"]) if t)
            lines.append(
                f"  {place + 1:>3}  {score:.4f}  {row:>10}  {told}  {line['url']}".rstrip()
            )
    if len(queries.names) > shown:
        lines.append(f"and {len(queries.names) - shown} more queries; --json has all")
    return "\n".join(lines)
