"""The command line's benches of drawing pictures and of embedding them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.errors import UsageError
from mindeye.files import write_json

NewParser = Callable[..., ArgumentParser]


def add_bench_reconstruct(benches: Any, new: NewParser) -> None:
    """Add ``bench reconstruct``."""
    reconstruct = new(
        "Draw candidates of many brains in batches, one picture at a time, and one brain at a time "
        "as the published code does, in one run and in turns: time a picture, the network's share "
        "of it, and how far pictures differ."
    )
    reconstruct.add_argument("--json", type=Path, required=True, help="file to write")
    reconstruct.add_argument(
        "--embeddings", type=Path | None, default=None,
        help="file or folder of embeddings; random ones of norm 1 without it",
    )  # fmt: skip
    reconstruct.add_argument("--generator", type=str, default="zoo", help="as targets.generator")
    reconstruct.add_argument("--encoder", type=str, default="zoo", help="as targets.encoder")
    reconstruct.add_argument("--vae", type=str, default="zoo", help="as targets.vae")
    reconstruct.add_argument("--brains", type=int, default=300, help="stimuli")
    reconstruct.add_argument("--candidates", type=int, default=4, help="pictures a stimulus")
    reconstruct.add_argument("--batch-size", type=int, default=64, help="pictures in a batch")
    reconstruct.add_argument("--steps", type=int, default=12, help="of the full schedule")
    reconstruct.add_argument("--guidance", type=float, default=2.0, help="scale")
    reconstruct.add_argument("--strength", type=float, default=0.85, help="of the start's noise")
    _add_rest(reconstruct)
    benches.add_subcommand("reconstruct", reconstruct, help="pictures in batches and one at a time")


def add_bench_embedding(benches: Any, new: NewParser) -> None:
    """Add ``bench embedding``."""
    embedding = new(
        "Train on embeddings out of the store and on embeddings computed anew in every step, in "
        "one run and in turns: samples a second, of targets alone and of whole training steps."
    )
    embedding.add_argument("--json", type=Path, required=True, help="file to write")
    embedding.add_argument("--encoder", type=str, default="zoo", help="as targets.encoder")
    embedding.add_argument("--preset", type=str, default="demo", help="whose training steps")
    embedding.add_argument("--pictures", type=int, default=512, help="in the store")
    embedding.add_argument("--size", type=int, default=64, help="picture side in pixels")
    embedding.add_argument("--voxels", type=int, default=3000, help="V")
    embedding.add_argument("--batch-size", type=int, default=64, help="samples a step")
    embedding.add_argument("--steps", type=int, default=4, help="steps a timing")
    embedding.add_argument("--repetitions", type=int, default=3, help="timings a way, in turns")
    embedding.add_argument(
        "--paper-size", action="store_true",
        help="also a full-size ViT-L/14 of random weights, targets alone",
    )  # fmt: skip
    embedding.add_argument("--paper-pictures", type=int, default=4, help="samples of that")
    _add_rest(embedding)
    benches.add_subcommand("embedding", embedding, help="stored embeddings and recomputed ones")


def _add_rest(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda")
    parser.add_argument("--threads", type=int, default=0, help="of torch, 0 for its own choice")


def bench_reconstruct(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench reconstruct`` prints."""
    from benchmarks.reconstruct import ReconstructBench, bench_reconstruct, table

    content = bench_reconstruct(ReconstructBench(**_fields("reconstruct", flags, overrides)))
    write_json(flags.json, content)
    return table(content)


def bench_embedding(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench embedding`` prints."""
    from benchmarks.embedding import EmbeddingBench, bench_embedding, table

    content = bench_embedding(EmbeddingBench(**_fields("embedding", flags, overrides)))
    write_json(flags.json, content)
    return table(content)


def _fields(what: str, flags: Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the flags of a bench that are fields of its configuration."""
    if overrides:
        raise UsageError(f"bench {what} takes no fields of a run; leave out {overrides[0]}")
    return {name: value for name, value in flags.as_dict().items() if name != "json"}
