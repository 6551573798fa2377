"""What a bulk embedding is to do: its shards, the files each becomes, what is there already.

::

    OUT/bulk.json                          encoder, width, digits, names of the shards in order
        img_emb/img_emb_00000.npy          (n, D) float16, unit vectors of the first shard
        metadata/metadata_00000.parquet    n rows: image_path, caption, url, key, shard

This is the layout that clip-retrieval writes (its `OutputSink`, clip_inference/writer.py) and
LAION's embeddings were published in; not checked against published files here. A shard keeps its
number for good, so that a second call, with more shards or fewer broken ones, goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import open_array, read_json, write_json
from mindeye.gallery.sources import natural

DESCRIPTION = "bulk.json"
FORMAT = "mindeye gallery embed 1"

MARK = b"mindeye"
"""Key of a table's schema metadata that says which shard and encoder its rows are of."""

FEWEST_DIGITS = 5
"""Of a shard's number in file names; img2dataset numbers its shards with as many."""


@dataclass(frozen=True)
class BulkConfig:
    """How shards of pictures are embedded.

    Parameters
    ----------
    encoder
        Name of the image encoder: zoo, a local model folder or the id of a fetched model.
    weights
        Folder of fetched models; by default MINDEYE_WEIGHTS, else the Hugging Face cache.
    batch_size
        Pictures that go through the encoder at once.
    workers
        Ray workers; 0 embeds in this process, without Ray.
    address
        local starts Ray on this machine; auto joins the cluster that runs already.
    device
        cpu, cuda or auto; on Ray every worker gets a GPU of its own if there are any.
    """

    encoder: str
    weights: str = ""
    batch_size: int = 64
    workers: int = 0
    address: Literal["local", "auto"] = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        """Refuse sizes that make no sense; raises ConfigError."""
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; it is at least 1")
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}; it is 0, without Ray, or more")


@dataclass(frozen=True)
class EncoderFacts:
    """Which encoder embeddings are of.

    Parameters
    ----------
    id
        Its name.
    fingerprint
        Of its weights and of the libraries that run them.
    width
        D.
    """

    id: str
    fingerprint: str
    width: int


@dataclass(frozen=True)
class Job:
    """One shard and the pair of files that it becomes.

    Parameters
    ----------
    shard
        The tar file.
    vectors, table
        The pair.
    encoder
        What it is embedded by.
    """

    shard: Path
    vectors: Path
    table: Path
    encoder: EncoderFacts

    def mark(self) -> dict[str, Any]:
        """Return what the table says of its shard and encoder; raises OSError without shard."""
        size = self.shard.stat().st_size
        return {"shard": self.shard.name, "bytes": size, "encoder": asdict(self.encoder)}


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Parameters
    ----------
    shard
        Its name.
    rows
        Embeddings of it on disk.
    lost
        Samples of it without a readable picture.
    left_out
        Why, of the first of them.
    problem
        Why there are no embeddings of it; empty if there are.
    stop
        Whether the problem is one of the machine and not of the shard, so that no other shard
        would fare better.
    """

    shard: str
    rows: int = 0
    lost: int = 0
    left_out: tuple[str, ...] = ()
    problem: str = ""
    stop: bool = False


def find_shards(source: Path) -> list[Path]:
    """Return the shards of a folder, in the order of the numbers in their names, or one shard.

    Raises
    ------
    DataError
        If there are none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"no shards at {source}; give a folder of .tar files, or one of them")
    shards = [path for path in source.glob("*.tar") if not path.name.startswith(".")]
    if not shards:
        raise DataError(f"{source} holds no .tar files; shards of img2dataset or webdataset do")
    return sorted(shards, key=natural)


def plan_jobs(shards: Sequence[Path], out: Path, encoder: EncoderFacts) -> list[Job]:
    """Give every shard its pair of files and write down which is whose.

    Raises
    ------
    UsageError
        If `out` holds embeddings of another encoder, or its numbers have too few digits.
    DataError
        If its description is damaged.
    """
    place = out / DESCRIPTION
    known, digits = _known(place, encoder)
    names = [*known, *(s.name for s in shards if s.name not in set(known))]
    digits = digits or max(FEWEST_DIGITS, len(str(len(names) - 1)))
    if len(str(len(names) - 1)) > digits:
        raise UsageError(
            f"{out} numbers its shards with {digits} digits, which {len(names)} do not fit; "
            "embed the new ones into another folder"
        )
    if names != known:
        content = {"format": FORMAT, "encoder": asdict(encoder), "digits": digits, "shards": names}
        write_json(place, content)
    number = {name: f"{i:0{digits}d}" for i, name in enumerate(names)}
    return [
        Job(
            shard,
            out / "img_emb" / f"img_emb_{number[shard.name]}.npy",
            out / "metadata" / f"metadata_{number[shard.name]}.parquet",
            encoder,
        )
        for shard in shards
    ]


def _known(place: Path, encoder: EncoderFacts) -> tuple[list[str], int]:
    """Return the shards that have a number already, and how many digits that has."""
    if not place.exists():
        return [], 0
    try:
        content = read_json(place)
        found = EncoderFacts(**content["encoder"])
        names, digits = [str(name) for name in content["shards"]], int(content["digits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{place} is damaged ({error!r}); embed into another folder, or delete this one"
        ) from error
    if found != encoder:
        raise UsageError(
            f"{place.parent} holds embeddings of {found.id} (width {found.width}, fingerprint "
            f"{found.fingerprint}), asked is {encoder.id} (width {encoder.width}, fingerprint "
            f"{encoder.fingerprint}); embed into another folder"
        )
    return names, digits


def finished(job: Job) -> Outcome | None:
    """Return the outcome of a shard whose pair of files is there and whole, else None.

    A pair counts if its table is of this very shard, by name and size, and of this encoder, and
    has as many rows as there are vectors.
    """
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    if not (job.vectors.is_file() and job.table.is_file()):
        return None
    try:
        facts = parquet.read_metadata(job.table)
        said = json.loads((facts.metadata or {})[MARK])
        left_out = tuple(str(line) for line in said.pop("left_out"))
        lost = int(said.pop("lost"))
        vectors = open_array(job.vectors, "")
        whole = vectors.shape == (facts.num_rows, job.encoder.width) and vectors.dtype == "float16"
        if not whole or said != job.mark():
            return None
    except (ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return Outcome(job.shard.name, facts.num_rows, lost, left_out)
