"""The sub-verb ``gallery embed``: shards of pictures to precomputed embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.config.settings import add_fields, from_flags

NewParser = Callable[..., ArgumentParser]

SHOWN = 3
"""Samples left out that are named; their number is told in any case."""


def add_gallery_embed(subverbs: Any, new: NewParser, *, asked: bool = True) -> None:
    """Add the sub-verb ``embed``; its flags, only if it is asked for."""
    embed = new(
        "Embed the pictures of webdataset or img2dataset shards, on this machine or on a Ray "
        "cluster: one .npy of vectors and one .parquet of captions and addresses a shard, which "
        "`mindeye gallery build` takes. A second call goes on where the first one stopped."
    )
    embed.add_argument("shards", type=Path, help="folder of .tar shards, or one of them")
    embed.add_argument("--out", type=Path, required=True, help="folder to write")
    if asked:
        from mindeye.gallery.bulk_plan import BulkConfig

        add_fields(embed, BulkConfig)
    subverbs.add_subcommand("embed", embed, help="embed shards of pictures, on many machines")


def gallery_embed(flags: Namespace) -> str:
    """Return the text that ``gallery embed`` prints."""
    from mindeye.gallery.bulk import embed_shards
    from mindeye.gallery.bulk_plan import BulkConfig

    told = embed_shards(flags.shards, flags.out, from_flags(BulkConfig, flags))
    lines = [
        f"{flags.out} is ready: {told.rows} embeddings of {told.done + told.before} shards "
        f"({told.before} done before)"
    ]
    if told.lost:
        shown = "; ".join(told.left_out[:SHOWN])
        lines.append(f"{told.lost} samples were left out: {shown}")
    return "\n".join(lines)
