"""Embeds in as many processes as torchrun starts; see test_embedding_processes.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mindeye import arrays
from mindeye.data.scenes import draw_scene, make_scenes
from mindeye.processes import Processes, join_processes
from mindeye.targets.augment import recolour
from mindeye.targets.encoders import PixelEncoder
from mindeye.targets.store import write_embeddings

COUNT, BATCH = 29, 4


def embed(
    folder: Path, processes: Processes, before: Callable[[int], None] = lambda batch: None
) -> None:
    """Write both arrays and the number of batches that this process embedded.

    `before` is called ahead of every batch with its number.
    """
    torch.set_num_threads(1)
    arrays.KEEP_EVERY = 0.0
    encoder = PixelEncoder(16, 4)
    pictures = np.stack([draw_scene(s) for s in make_scenes(COUNT, 5)])
    batches = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        before(len(batches))
        batches.append(len(images))
        return encoder.encode(images)

    def changed(images: torch.Tensor, rows: range) -> torch.Tensor:
        return recolour(images, seeds=list(rows))

    names: dict[str, Callable[[torch.Tensor, range], torch.Tensor] | None]
    names = {"tokens": None, "recoloured": changed}
    for name, prepare in names.items():
        stored = write_embeddings(
            folder,
            name,
            encode,
            pictures,
            fingerprint="f",
            batch_size=BATCH,
            prepare=prepare,
            stored="float16" if name == "recoloured" else "float32",
            processes=processes,
        )
        assert len(stored) == COUNT
    (folder / f"process{processes.index}_of_{processes.count}.txt").write_text(str(len(batches)))
    processes.wait()


if __name__ == "__main__":
    group = join_processes("cpu")
    for out in sys.argv[1:]:
        embed(Path(out), group)
