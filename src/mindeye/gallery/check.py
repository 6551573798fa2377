"""What is in a gallery, and whether all of it is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mindeye.errors import DataError
from mindeye.files import sha256
from mindeye.gallery.build import IdSet, notes_of
from mindeye.gallery.exact import with_norms
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.store import part_paths
from mindeye.progress import track

SAMPLED = 64
"""Vectors of the gallery that are looked up."""

WELL_FOUND = 0.9
"""Share of them that an index which is not exact must find first."""

HALF_ROUNDING = 2e-3
"""How far the norm of a unit vector may be from 1 once its values are float16."""


def describe(gallery: Gallery) -> dict[str, Any]:
    """Return what is in a gallery, by name."""
    info, space = gallery.info, gallery.info.space
    options = " ".join(
        f"{n}={v}" for n, v in info.options.items() if v not in ("", 0, -1) and n != "uri"
    )
    facts: dict[str, Any] = {
        "vectors": f"{len(gallery)} x {info.width}",
        "encoder": f"{space.id or 'unknown'} ({space.said})",
        "back-end": f"{info.backend} {options}".strip(),
        "parts": len(info.filled),
    }
    if gallery.has_vectors:
        facts["on disk"] = f"{len(gallery) * info.width * 2 / 1e6:.1f} MB of float16"
        facts["source"] = "; ".join(
            f"{source} ({sum(part.rows for part in info.parts if part.source == source)}"
            f"{'' if source in info.complete else ', cut off'})"
            for source in dict.fromkeys(part.source for part in info.parts)
        )
    else:
        facts["vectors"] += ", in the index alone"
    notes = notes_of(info)
    return {**facts, "notes": "; ".join(notes)} if notes else facts


def check_gallery(gallery: Gallery) -> list[str]:
    """Verify a gallery and return what is right; raises DataError at the first fault."""
    if not gallery.has_vectors or gallery.path is None:
        size = f"{len(gallery)} vectors of width {gallery.info.width}"
        return [_check_ids(gallery), f"the index opens and holds {size}"]
    files = _check_files(gallery, gallery.path)
    return [files, _check_norms(gallery), _check_ids(gallery), _check_search(gallery)]


def _check_files(gallery: Gallery, folder: Path) -> str:
    parts = gallery.info.filled
    for part in track(parts, "checksums"):
        hashes = part.sha256, part.table_sha256
        for path, expected in zip(part_paths(folder, part), hashes, strict=True):
            if not path.is_file() or sha256(path) != expected:
                raise DataError(
                    f"{path} is missing or not what was written (SHA-256 differs); restore it or "
                    "build the gallery again"
                )
    return f"{len(parts)} parts: checksums of vectors and tables as written"


def _check_norms(gallery: Gallery) -> str:
    vectors = gallery.vectors
    for first, chunk in track(vectors.chunks(16_384), "norms"):
        off = ~(np.abs(with_norms(chunk)[1] - 1) <= HALF_ROUNDING)  # so put, NaN is off too
        if off.any():
            raise DataError(
                f"{gallery.path}: the vector of row {first + int(off.argmax())} is not of norm 1; "
                "build the gallery again"
            )
    return f"{len(vectors)} vectors of width {vectors.width}, all of norm 1"


def _check_ids(gallery: Gallery) -> str:
    known = IdSet()
    for first, ids in gallery.tables.ids():
        fresh = known.add(ids)
        if not fresh.all():
            row = int((~fresh).argmax())
            what = f"the id {ids[row]!r} of row {first + row} is there twice"
            if gallery.has_vectors:
                raise DataError(f"{gallery.path}: {what}; build the gallery again")
            return f"{what}, as whoever made the index left it"
    return f"{len(gallery)} ids, no two alike"


def _check_search(gallery: Gallery) -> str:
    """Look sampled vectors up: each must find itself, or its equal, first."""
    count = min(SAMPLED, len(gallery))
    rows = np.linspace(0, len(gallery) - 1, count).astype(np.int64)
    own, norms = with_norms(gallery.vectors.take(rows))
    own = own / norms[:, None]
    nearest = gallery.searcher.search(own, 1).rows[:, 0]
    # An equal vector at another row is as good an answer.
    same = np.einsum("nd,nd->n", gallery.vectors.take(np.maximum(nearest, 0)), own) > 1 - 2e-3
    same &= nearest >= 0
    exact = gallery.info.backend == "exact" or gallery.info.options.get("index") == "flat"
    if same.mean() < (1.0 if exact else WELL_FOUND):
        raise DataError(
            f"{gallery.path}: of {count} of its own vectors only {int(same.sum())} find "
            "themselves; delete its folder index and build again, or search further (--nprobe, "
            "--ef)"
        )
    return f"{int(same.sum())} of {count} of its own vectors find themselves first"
