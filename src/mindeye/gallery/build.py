"""Writing the parts of a gallery; a build that was killed goes on.

A part's two files are written first and ``gallery.json`` lists it after that, so that whatever is
not listed is written anew. Parts come in the order of their source, so that a build that was cut
off ends with the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.files import sha256, write_array
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.faiss_index import build_index
from mindeye.gallery.faiss_options import chosen
from mindeye.gallery.milvus import MilvusCollection
from mindeye.gallery.sources import Block, Job, Source
from mindeye.gallery.store import (
    DESCRIPTION,
    IdSet,
    Info,
    Part,
    open_tables,
    open_vectors,
    read_info,
    table_path,
    vectors_path,
    write_info,
)
from mindeye.gallery.tables import COLUMNS, write_table
from mindeye.gallery.vectors import unit_rows, with_norms
from mindeye.progress import track

UNIT_WITHIN = 5e-3
"""How far a norm may be from 1 by rounding: float16 of unit vectors is within 5e-4."""


def begun(folder: Path, source: Source) -> Info:
    """Return the description of the gallery that a build begins or goes on with.

    Raises
    ------
    UsageError
        If the folder holds something else.
    DataError
        If it holds a gallery of another source or space.
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
    """Write the parts of a source that are missing, each listed as soon as it is whole.

    Parameters
    ----------
    folder
        Folder of the gallery.
    info
        Description of the gallery so far.
    source
        Source of the parts.
    config
        What becomes of bad rows, and the prefix of ids.

    Returns
    -------
    Info
        The description with all parts of the source.

    Raises
    ------
    DataError
        If the source changed since the build began, is damaged, or leaves no vector.
    """
    writer = _Writer(folder, info, source, config)
    done = writer.done()
    for job in track(source.jobs[done:], "gallery", total=len(source.jobs), done=done):
        writer.write(job)
    info = writer.info
    if info.count == 0:
        raise DataError(f"{source.name} left no vector; an empty gallery is of no use")
    complete = tuple(dict.fromkeys([*info.complete, source.name]))
    return dataclasses.replace(
        info, roots={**info.roots, source.name: source.kind}, complete=complete
    )


def index_parts(folder: Path, info: Info, config: IndexConfig) -> Info:
    """Make what the back-end needs over all parts, or bring it up to date.

    Parameters
    ----------
    folder
        Folder of the gallery.
    info
        Description of the gallery.
    config
        Which back-end and index; without a back-end, those that the gallery has.

    Returns
    -------
    Info
        The description with back-end and options.
    """
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


def notes_of(info: Info, source: str = "") -> list[str]:
    """Return what was converted or left out, in all or of one source."""
    parts = [p for p in info.parts if source in ("", p.source)]
    counts = {
        "vectors were not of norm 1 and were normalised": sum(p.rescaled for p in parts),
        "were left out since their id was there before; the first is kept": sum(
            p.duplicates for p in parts
        ),
        "were left out since they are unreadable, not finite or zero": sum(
            p.left_out for p in parts
        ),
    }
    notes = [f"{number} {text}" for text, number in counts.items() if number]
    read, twice = sum(p.read for p in parts), sum(p.duplicates for p in parts)
    if read and twice > read / 2:
        notes.append("most ids were there before; another source needs --id-prefix of its own")
    return notes


class _Writer:
    """Writes the parts of one source."""

    def __init__(self, folder: Path, info: Info, source: Source, config: SourceConfig) -> None:
        self.folder, self.info, self.source, self.config = folder, info, source, config
        self.ids: IdSet | None = None

    def done(self) -> int:
        """Return how many jobs are written, after a look at whether they are still the same."""
        own = [part for part in self.info.parts if part.source == self.source.name]
        for part, job in zip(own, self.source.jobs, strict=False):
            if (part.job, part.identity) != (job.name, job.identity):
                raise DataError(
                    f"{self.source.name} has changed since the build began: {part.job} is not "
                    "what it was; build a new gallery, or put back what was there"
                )
        if len(own) > len(self.source.jobs):
            raise DataError(f"{self.source.name} has fewer files than the gallery was built from")
        for left in (self.folder / "parts").glob(".*.part.*"):
            left.unlink()  # left by a build that was killed
        return len(own)

    def write(self, job: Job) -> None:
        """Write the part of a job and list it."""
        vectors, table, part = self._read(job)
        table["id"] = [self.config.id_prefix + i for i in table["id"]]
        ids = self._known_ids()
        fresh = ids.new(table["id"].tolist())
        vectors, table = vectors[fresh], table[fresh]
        name = f"{len(self.info.parts):05d}"
        part = dataclasses.replace(
            part, name=name, rows=len(vectors), duplicates=int((~fresh).sum())
        )
        if len(vectors):
            paths = vectors_path(self.folder, name), table_path(self.folder, name)
            write_array(paths[0], vectors)
            write_table(paths[1], table)
            part = dataclasses.replace(part, sha256=sha256(paths[0]), table_sha256=sha256(paths[1]))
            ids.add(table["id"].tolist())
        self.info = dataclasses.replace(self.info, parts=(*self.info.parts, part))
        write_info(self.folder, self.info)

    def _read(self, job: Job) -> tuple[NDArray[np.float16], pd.DataFrame, Part]:
        """Return a job's unit vectors (n, D), their texts, and what was met on the way."""
        what = f"{self.source.name}: {job.name}"
        halves, tables = [np.zeros((0, self.info.width), np.float16)], []
        read = rescaled = lost = 0
        for block in self._blocks(job):
            vectors, table = block.vectors, block.table
            if self.config.bad == "skip":
                _, norms = with_norms(vectors)
                usable = np.isfinite(norms) & (norms > 0)
                vectors, table = vectors[usable], table[usable]
            unit, norms = unit_rows(vectors, what, first=read)
            halves.append(unit.astype(np.float16))
            tables.append(table)
            read += len(block.vectors) + block.left_out
            lost += block.left_out + len(block.vectors) - len(unit)
            if self.source.space.said == "as given":
                rescaled += int((np.abs(norms - 1) > UNIT_WITHIN).sum())
        table = pd.concat(tables or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)
        part = Part("", 0, "", "", self.source.name, job.name, job.identity, read)
        part = dataclasses.replace(part, rescaled=rescaled, left_out=lost)
        return np.concatenate(halves), table, part

    def _blocks(self, job: Job) -> Iterator[Block]:
        """Yield the blocks of a job; embedding, which takes minutes, has a bar of its own."""
        if self.source.kind == "embeddings":
            yield from job.read()
            return
        steps = -(-job.count // self.config.batch_size) or None
        yield from track(job.read(), job.name, total=steps)

    def _known_ids(self) -> IdSet:
        """Return the ids so far, read from the tables at the first call."""
        if self.ids is None:
            self.ids = IdSet()
            for _, ids in open_tables(self.folder, self.info).ids():
                self.ids.add(ids)
        return self.ids
