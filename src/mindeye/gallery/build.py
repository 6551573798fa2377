"""Building a gallery part by part, and adding to one; a build that was killed goes on.

A part's two files are written first and ``gallery.json`` lists it after that, so that whatever is
not listed is written anew. Parts come in the order of their source, so that a build that was cut
off ends with the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.files import sha256, write_array
from mindeye.gallery.backends import load_backend
from mindeye.gallery.base import floats, row_norms, unit_rows
from mindeye.gallery.faiss_options import FaissOptions
from mindeye.gallery.milvus_options import check_uri
from mindeye.gallery.rows import COLUMNS, write_rows
from mindeye.gallery.seen import Seen
from mindeye.gallery.source_kinds import open_source
from mindeye.gallery.sources import Job, Source, SourceConfig
from mindeye.gallery.store import (
    DESCRIPTION,
    Gallery,
    Info,
    Part,
    Space,
    read_info,
    table_path,
    vectors_path,
    write_info,
)
from mindeye.progress import track

UNIT_WITHIN = 5e-3
"""How far a norm may be from 1 by rounding: float16 of unit vectors is within 5e-4."""

MILVUS_TOO = ("m", "ef_construction", "nlist", "nprobe", "ef", "rerank")
"""Options of faiss that Milvus has as well, under the same names."""


@dataclass(frozen=True)
class BuildConfig:
    """How a gallery is built.

    Parameters
    ----------
    backend
        ``exact``, ``faiss`` or ``milvus``; left out, that of the gallery as it is, with its
        options, and ``exact`` for a new one.
    uri
        Of a Milvus server; by default Milvus Lite within the gallery.
    reading
        How the source is read.
    faiss
        Which index.
    """

    backend: str = ""
    uri: str = ""
    reading: SourceConfig = field(default_factory=SourceConfig)
    faiss: FaissOptions = field(default_factory=FaissOptions)

    def __post_init__(self) -> None:
        """Refuse an address with a password before anything is written; raises ConfigError."""
        check_uri(self.uri)


class Built(NamedTuple):
    """A gallery as it is after a build, and what is to be said of it."""

    gallery: Gallery
    notes: list[str]


def build_gallery(source: Path, out: Path, config: BuildConfig) -> Built:
    """Build a gallery, go on with a build that was cut off, or give it another back-end.

    Parameters
    ----------
    source
        Pictures, shards or embeddings, see `open_source`.
    out
        Folder of the gallery.
    config
        How.

    Raises
    ------
    DataError
        If the source is malformed, or `out` holds a gallery of something else.
    ConfigError
        If the back-end or an option is unknown.
    """
    if config.backend:
        load_backend(config.backend)  # an unknown name is told before anything is embedded
    found = open_source(source, config.reading)
    info = _begun(out, found, config)
    if config.backend:
        return _complete(out, found, info, config)
    return _complete(out, found, info, config, options=info.options)


def add_to_gallery(folder: Path, source: Path, config: SourceConfig) -> Built:
    """Add a source to a gallery; pictures are embedded by the gallery's own encoder.

    Raises
    ------
    DataError
        If there is no gallery, or the source lies in another space.
    """
    info = read_info(folder)
    if not config.encoder:
        space = info.space
        config = dataclasses.replace(config, encoder=space.name, encoder_tokens=space.tokens)  # type: ignore[arg-type]
    found = open_source(source, config)
    refuse_other_space(found.space, info.space, found.name, folder)
    building = BuildConfig(backend=info.backend, reading=config)
    return _complete(folder, found, info, building, options=info.options)


def refuse_other_space(theirs: Space, ours: Space, what: object, folder: Path) -> None:
    """Refuse vectors of another encoder or width than a gallery's, both named.

    Raises
    ------
    DataError
        If the widths differ, or the encoders where both are known.
    """
    if theirs.width != ours.width:
        raise DataError(
            f"{what} has vectors of width {theirs.width} ({theirs.id or 'encoder not told'}), "
            f"{folder} of width {ours.width} ({ours.id or 'encoder not told'}); they are of "
            "different encoders"
        )
    if theirs.id and ours.id and theirs.id != ours.id:
        raise DataError(
            f"{what} lies in the space of {theirs.id}, {folder} in that of {ours.id}; only "
            "embeddings of the same encoder can be compared"
        )


def notes_of(info: Info, source: str = "") -> list[str]:
    """Return what was converted or left out, in all or of one source."""
    parts = [p for p in info.parts if source in ("", p.source)]
    told = {
        "vectors were not of norm 1 and were normalised": sum(p.rescaled for p in parts),
        "were left out since their id was there before; the first is kept": sum(
            p.duplicates for p in parts
        ),
        "were left out since they are unreadable, not finite or zero": sum(
            p.left_out for p in parts
        ),
    }
    notes = [f"{number} {text}" for text, number in told.items() if number]
    read, twice = sum(p.read for p in parts), sum(p.duplicates for p in parts)
    if read and twice > read / 2:
        notes.append("most ids were there before; another source needs --id-prefix of its own")
    return notes


def _begun(out: Path, source: Source, config: BuildConfig) -> Info:
    """Return what there is of this gallery, or its beginning."""
    if not (out / DESCRIPTION).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty and holds no gallery; give another folder")
        return Info(source.space, backend=config.backend or "exact")
    info = read_info(out)
    if info.parts and info.parts[0].source != source.name:
        raise DataError(
            f"{out} holds a gallery of {info.parts[0].source}; `mindeye gallery add {out} SOURCE` "
            "adds to it"
        )
    refuse_other_space(source.space, info.space, source.name, out)
    return dataclasses.replace(info, backend=config.backend or info.backend)


def _complete(
    out: Path,
    source: Source,
    info: Info,
    config: BuildConfig,
    *,
    options: dict[str, Any] | None = None,
) -> Built:
    """Write the parts that are missing, then what the back-end needs."""
    writer = _Writer(out, info, source, config.reading)
    done = writer.done()
    for job in track(source.jobs[done:], "gallery", total=len(source.jobs), done=done):
        writer.write(job)
    info = writer.info
    if info.count == 0:
        raise DataError(f"{source.name} left no vector; an empty gallery is of no use")
    roots = {**info.roots, source.name: source.kind}
    complete = tuple(dict.fromkeys([*info.complete, source.name]))
    options = _options(config, info.count) if options is None else options
    info = dataclasses.replace(info, roots=roots, complete=complete, options=options)
    # Options count as the gallery's before the index is made: a second call goes on with it.
    write_info(out, info)
    gallery = Gallery(out, info)
    load_backend(info.backend).build(gallery, info.options)
    return Built(gallery, notes_of(info, source.name))


def _options(config: BuildConfig, count: int) -> dict[str, Any]:
    """Return the options that the back-end is given."""
    if config.backend == "faiss":
        return dataclasses.asdict(config.faiss.resolved(count))
    if config.backend == "milvus":
        shared = {name: getattr(config.faiss, name) for name in MILVUS_TOO}
        return {**shared, "uri": config.uri, "index": config.faiss.index or "auto"}
    return {}


class _Writer:
    """Writes the parts of one source."""

    def __init__(self, out: Path, info: Info, source: Source, config: SourceConfig) -> None:
        self.out, self.info, self.source, self.config = out, info, source, config
        self.seen: Seen | None = None

    def done(self) -> int:
        """Return how many jobs are written, after a look at whether they are still the same."""
        own = [part for part in self.info.parts if part.source == self.source.name]
        for part, job in zip(own, self.source.jobs, strict=False):
            if (part.job, part.identity) != (job.name, job.identity):
                raise DataError(
                    f"{self.source.name} has changed since the build began: {part.job} is not "
                    f"what it was; build a new gallery, or put back what was there"
                )
        if len(own) > len(self.source.jobs):
            raise DataError(f"{self.source.name} has fewer files than the gallery was built from")
        for left in (self.out / "parts").glob(".*.part.*"):
            left.unlink()  # of a build that was killed
        return len(own)

    def write(self, job: Job) -> None:
        """Write the part of a job and list it."""
        halves, texts, part = self._read(job)
        ids = [self.config.id_prefix + i for i in texts["id"]]
        seen = self._seen()
        fresh = seen.new(ids)
        kept = np.flatnonzero(fresh)
        name = f"{len(self.info.parts):05d}"
        digests = ("", "")
        if len(kept):
            columns = {c: [texts[c][i] for i in kept] for c in COLUMNS}
            columns["id"] = [ids[i] for i in kept]
            paths = vectors_path(self.out, name), table_path(self.out, name)
            write_array(paths[0], halves[kept])
            write_rows(paths[1], columns)
            digests = sha256(paths[0]), sha256(paths[1])
            seen.add(columns["id"], self.info.count)
        part = dataclasses.replace(
            part,
            name=name,
            rows=len(kept),
            sha256=digests[0],
            table_sha256=digests[1],
            duplicates=len(ids) - len(kept),
        )
        self.info = dataclasses.replace(self.info, parts=(*self.info.parts, part))
        write_info(self.out, self.info)

    def _read(self, job: Job) -> tuple[NDArray[np.float16], dict[str, list[str]], Part]:
        """Return a job's unit vectors (n, D) and texts, and what was met on the way."""
        what = f"{self.source.name}: {job.name}"
        halves: list[NDArray[np.float16]] = []
        texts: dict[str, list[str]] = {name: [] for name in COLUMNS}
        read = rescaled = lost = 0
        for vectors, told, left_out in self._blocks(job):
            kept = _usable(vectors) if self.config.bad == "skip" else slice(None)
            unit, norms = unit_rows(vectors[kept], what, first=read)
            halves.append(unit.astype(np.float16))
            for name, column in texts.items():
                column += np.array(told[name], dtype=object)[kept].tolist()
            read += len(vectors) + left_out
            lost += left_out + len(vectors) - len(unit)
            if self.source.space.said == "as given":
                rescaled += int((np.abs(norms - 1) > UNIT_WITHIN).sum())
        joined = np.concatenate(halves) if halves else np.zeros((0, self.info.width), np.float16)
        part = Part("", 0, "", "", self.source.name, job.name, job.identity, read)
        return joined, texts, dataclasses.replace(part, rescaled=rescaled, left_out=lost)

    def _blocks(self, job: Job) -> Iterator[Any]:
        """Yield the blocks of a job; embedding, which takes minutes, has a bar of its own."""
        if self.source.kind == "embeddings":
            yield from job.read()
            return
        steps = -(-job.count // self.config.batch_size) or None
        yield from track(job.read(), job.name, total=steps)

    def _seen(self) -> Seen:
        """Return the ids so far, read from the tables at the first call."""
        if self.seen is None:
            self.seen = Seen(
                lambda rows: Gallery(self.out, self.info).rows.take(rows)["id"].tolist()
            )
            for first, ids in Gallery(self.out, self.info).rows.ids():
                self.seen.add(ids, first)
        return self.seen


def _usable(vectors: NDArray[Any]) -> NDArray[np.bool_]:
    norms = row_norms(floats(vectors))
    return np.asarray(np.isfinite(norms) & (norms > 0))
