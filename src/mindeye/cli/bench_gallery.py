"""The command line's bench of galleries. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.errors import UsageError
from mindeye.files import write_json

NewParser = Callable[..., ArgumentParser]


def add_bench_gallery(benches: Any, new: NewParser) -> None:
    """Add ``bench gallery``."""
    gallery = new(
        "Build a gallery of synthetic vectors, clustered like embeddings, and search it: exact "
        "search, indices of faiss by ours and by faiss itself, in turns; recall, latency, build "
        "time, disk and peak memory. A bench that was cut off goes on."
    )
    gallery.add_argument(
        "--work", type=Path, required=True,
        help="folder for vectors and indices, kept (10^6 x 768: 10 GB; 10^7 ivfpq: 33 GB)",
    )  # fmt: skip
    gallery.add_argument("--json", type=Path, required=True, help="file to write")
    gallery.add_argument("--vectors", type=int, default=1_000_000, help="G, at least 1000")
    gallery.add_argument("--width", type=int, default=768, help="D")
    gallery.add_argument("--queries", type=int, default=500, help="measured; half as many tune")
    gallery.add_argument("--k", type=int, default=16, help="neighbours")
    gallery.add_argument(
        "--indices", type=str, default="ivfpq,ivfsq8,hnsw,flat", help="with commas between"
    )
    gallery.add_argument("--repetitions", type=int, default=3, help="timings a way, in turns")
    gallery.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    gallery.add_argument("--threads", type=int, default=2, help="of every process")
    gallery.add_argument("--nlist", type=int, default=0, help="lists, 0 for a choice by size")
    gallery.add_argument(
        "--build-only", action="store_true",
        help="build, then recall and memory of the chosen point; each way is timed once only",
    )  # fmt: skip
    benches.add_subcommand("gallery", gallery, help="galleries of up to 10^7 vectors")


def bench_gallery(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench gallery`` prints."""
    from benchmarks.gallery import GalleryBench, bench_gallery
    from benchmarks.gallery_table import table

    if overrides:
        raise UsageError(f"bench gallery takes no fields of a run; leave out {overrides[0]}")
    content = bench_gallery(
        GalleryBench(
            work=flags.work,
            vectors=flags.vectors,
            width=flags.width,
            queries=flags.queries,
            k=flags.k,
            indices=tuple(flags.indices.split(",")),
            repetitions=flags.repetitions,
            seed=flags.seed,
            build_only=flags.build_only,
            threads=flags.threads,
            nlist=flags.nlist,
        )
    )
    write_json(flags.json, content)
    return table(content)
