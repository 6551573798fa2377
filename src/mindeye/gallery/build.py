"""Writing the parts of a gallery; a build that was killed goes on.

A part's two files are written first and ``gallery.json`` lists it after that, so that whatever is
not listed is written anew. Parts come in the order of their source, so that a build that was cut
off ends with the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.files import sha256, write_array
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.embeddings import Job, Source
from mindeye.gallery.exact import ExactSearch, Search, Vectors, unit_rows, with_norms
from mindeye.gallery.faiss_index import build_index, chosen, open_index
from mindeye.gallery.milvus import MilvusCollection
from mindeye.gallery.sources import UNIT_WITHIN
from mindeye.gallery.store import (
    COLUMNS,
    DESCRIPTION,
    Info,
    Part,
    open_tables,
    open_vectors,
    part_paths,
    read_info,
    write_info,
    write_table,
)
from mindeye.progress import track


def begun(folder: Path, source: Source) -> Info:
    """Return the description of the gallery that a build begins or goes on with.

    Raises UsageError if the folder holds something else, DataError if it holds a gallery of another
    source or space.
    """
    if not (folder / DESCRIPTION).is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no gallery; give another folder")
        return Info(source.space)
    info = read_info(folder)
    if info.parts and info.parts[0].source != source.name:
        raise DataError(
            f"{folder} holds a gallery of {info.parts[0].source}; `mindeye gallery add {folder} "
            "SOURCE` adds to it"
        )
    info.space.refuse_other(source.space, source.name, folder)
    return info


def write_parts(folder: Path, info: Info, source: Source, config: SourceConfig) -> Info:
    """Write the missing parts of a source, each listed as soon as it is whole; returns all.

    Raises DataError if the source changed since the build began, is damaged, or leaves no vector.
    """
    own = [part for part in info.parts if part.source == source.name]
    for part, job in zip(own, source.jobs, strict=False):
        if (part.job, part.identity) != (job.name, job.identity):
            raise DataError(
                f"{source.name} has changed since the build began: {part.job} is not "
                "what it was; build a new gallery, or put back what was there"
            )
    if len(own) > len(source.jobs):
        raise DataError(f"{source.name} has fewer files than the gallery was built from")
    for left in (folder / "parts").glob(".*.part.*"):
        left.unlink()  # left by a build that was killed
    known, done = IdSet(), len(own)
    for _, ids in open_tables(folder, info).ids() if done < len(source.jobs) else ():
        known.add(ids)
    for job in track(source.jobs[done:], "gallery", total=len(source.jobs), done=done):
        part = _write_part(folder, f"{len(info.parts):05d}", source, job, config, known)
        info = dataclasses.replace(info, parts=(*info.parts, part))
        write_info(folder, info)
    if info.count == 0:
        raise DataError(f"{source.name} left no vector; an empty gallery is of no use")
    complete = tuple(dict.fromkeys([*info.complete, source.name]))
    roots = {**info.roots, source.name: source.kind}
    return dataclasses.replace(info, roots=roots, complete=complete)


def index_parts(folder: Path, info: Info, config: IndexConfig) -> Info:
    """Build the index of all parts, or bring it up to date; by default the gallery's own."""
    config = config if config.backend else IndexConfig.of(info.backend, info.options)
    if config.backend == "faiss":
        config = chosen(config, info.count)
    info = dataclasses.replace(info, backend=config.backend, options=config.options)
    # Options count as the gallery's before the index is made: a second call goes on with it.
    write_info(folder, info)
    place = folder / "index"
    if config.backend == "faiss":
        build_index(place, info, open_vectors(folder, info), config)
    elif config.backend == "milvus":
        vectors = open_vectors(folder, info)
        with closing(MilvusCollection(place, info, vectors, config)) as collection:
            collection.build()
    return info


def open_search(folder: Path, info: Info, vectors: Vectors) -> Search:
    """Open the back-end of a gallery; raises DataError if its index is missing or damaged."""
    config, place = IndexConfig.of(info.backend, info.options), folder / "index"
    if config.backend == "faiss":
        return open_index(place, info, vectors, config)
    if config.backend == "milvus":
        return MilvusCollection(place, info, vectors, config).opened()
    return ExactSearch(vectors)


def notes_of(info: Info, source: str = "") -> list[str]:
    """Return what was converted or left out, in all or of one source."""
    parts = [p for p in info.parts if source in ("", p.source)]
    twice = sum(p.duplicates for p in parts)
    counts = {
        "vectors were not of norm 1 and were normalised": sum(p.rescaled for p in parts),
        "were left out since their id was there before; the first is kept": twice,
        "were left out since they are unreadable, not finite or zero": sum(
            p.left_out for p in parts
        ),
    }
    notes = [f"{number} {text}" for text, number in counts.items() if number]
    if twice > sum(p.read for p in parts) / 2:
        notes.append("most ids were there before; another source needs --id-prefix of its own")
    return notes


def _write_part(
    folder: Path, name: str, source: Source, job: Job, config: SourceConfig, known: IdSet
) -> Part:
    """Write what a job reads, as unit vectors and without ids that are known."""
    halves, tables = [np.zeros((0, source.space.width), np.float16)], []
    read = rescaled = lost = 0
    steps = -(-job.count // config.batch_size) or None
    # Embedding takes minutes; reading vectors does not.
    for block in track(job.read(), job.name, total=steps, shown=source.kind != "embeddings"):
        vectors, table = block.vectors, block.table
        if config.bad == "skip":
            _, norms = with_norms(vectors)
            usable = np.isfinite(norms) & (norms > 0)
            vectors, table = vectors[usable], table[usable]
        unit, norms = unit_rows(vectors, f"{source.name}: {job.name}", first=read)
        halves.append(unit.astype(np.float16))
        tables.append(table)
        read += len(block.vectors) + block.left_out
        lost += block.left_out + len(block.vectors) - len(unit)
        if source.space.said == "as given":
            rescaled += int((np.abs(norms - 1) > UNIT_WITHIN).sum())
    table = pd.concat(tables or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)
    table["id"] = [config.id_prefix + i for i in table["id"]]
    fresh = known.add(table["id"].tolist())
    twice, rows = int((~fresh).sum()), int(fresh.sum())
    part = Part(
        name, rows, "", "", source.name, job.name, job.identity, read, twice, rescaled, lost
    )
    if not rows:
        return part
    paths = part_paths(folder, part)
    write_array(paths[0], np.concatenate(halves)[fresh])
    write_table(paths[1], table[fresh])
    return dataclasses.replace(part, sha256=sha256(paths[0]), table_sha256=sha256(paths[1]))


class IdSet:
    """The ids of a gallery as hashes of 128 bits, 16 bytes an id whatever its length."""

    def __init__(self) -> None:
        self.hashes = np.zeros((2, 0), dtype=np.uint64)

    def add(self, ids: list[str]) -> NDArray[np.bool_]:
        """Take ids in; returns which of them (n,) were neither there nor earlier in the list."""
        fresh = np.array(~pd.Series(ids, dtype=object).duplicated(), dtype=bool)
        hashes = _hashes(ids)
        if self.hashes.size:
            place = np.searchsorted(self.hashes[0], hashes[0]).clip(max=self.hashes.shape[1] - 1)
            fresh &= ~(self.hashes[:, place] == hashes).all(axis=0)
        joined = np.concatenate([self.hashes, hashes[:, fresh]], axis=1)
        self.hashes = joined[:, np.argsort(joined[0], kind="stable")]
        return fresh


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    texts = np.array(ids, dtype=object)
    keys = ("0123456789123456", "gallery's second")  # of 16 bytes each, as SipHash takes them
    each = [pd.util.hash_array(texts, hash_key=key, categorize=False) for key in keys]
    return np.stack(each).astype(np.uint64)
