"""What a gallery answers, as text, as JSON and as a sheet of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.gallery.exact import Matches
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.pictures import Picture, write_sheet
from mindeye.gallery.queries import Queries

SHOWN = 20
"""Queries whose answers are printed; --json has all."""

DRAWN = 50
"""Queries whose answers are drawn."""


def answer_notes(gallery: Gallery, queries: Queries, k: int) -> list[str]:
    """Return what is worth telling before the answers."""
    notes = list(queries.notes)
    if k > len(gallery):
        notes.append(f"k is {k}, the gallery has {len(gallery)}; that many are given")
    if not gallery.has_vectors:
        notes.append(
            "an index made elsewhere, without its vectors: scores are the index's own, not exact"
        )
    return notes


def answers_json(
    gallery: Gallery, queries: Queries, matches: Matches, notes: list[str]
) -> dict[str, Any]:
    """Return answers as JSON: an entry a query with its rows, scores, ids, captions and urls."""
    answers = []
    for name, rows, scores in zip(queries.names, matches.rows, matches.scores, strict=True):
        there = rows >= 0
        table = gallery.table(rows[there])
        columns = {c: table[c].tolist() for c in ("id", "caption", "url", "where")}
        found = {"rows": rows[there].tolist(), "scores": scores[there].astype(float).tolist()}
        answers.append({"query": name, **found, **columns})
    info = gallery.info
    return {
        "gallery": str(gallery.path),
        "encoder": info.space.id,
        "width": info.space.width,
        "backend": info.backend,
        "options": info.options,
        "count": len(gallery),
        "k": matches.rows.shape[1],
        "notes": notes,
        "queries": answers,
    }


def answers_text(gallery: Gallery, queries: Queries, matches: Matches) -> str:
    """Return answers to the first queries as lines of text."""
    lines = []
    shown = zip(queries.names[:SHOWN], matches.rows, matches.scores, strict=False)
    for name, rows, scores in shown:
        lines.append(f"query {name}")
        table = gallery.table(rows[rows >= 0])
        for place, line in enumerate(table.to_dict("records")):
            texts = "  ".join(" ".join(line[c].split())[:80] for c in ("id", "caption") if line[c])
            head = f"  {place + 1:>3}  {scores[place]:.4f}  {line['row']:>10}"
            lines.append(f"{head}  {texts}  {line['url']}".rstrip())
    if len(queries.names) > SHOWN:
        lines.append(f"and {len(queries.names) - SHOWN} more queries; --json has all")
    return "\n".join(lines)


def draw_answers(gallery: Gallery, matches: Matches, path: Path) -> int:
    """Draw answers, a line a query, best first; returns how many pictures are on the sheet.

    Raises
    ------
    DataError
        If not one picture is at hand.
    """
    lines = lines_of_pictures(gallery, matches.rows[:DRAWN])
    shown = sum(picture is not None for line in lines for picture in line)
    if not shown:
        raise DataError(
            f"none of the pictures is on this machine below the sources of {gallery.path}; leave "
            "out --pictures"
        )
    write_sheet(path, lines)
    return shown


def lines_of_pictures(
    gallery: Gallery, rows: NDArray[np.int64], *, root: Path | None = None
) -> list[list[Picture | None]]:
    """Return the pictures of rows (Q, k), None where there is none; each shard is opened once."""
    unique = np.unique(rows)
    found = dict(zip(unique.tolist(), gallery.pictures(unique, root=root), strict=True))
    return [[found[row] for row in line] for line in rows.tolist()]
