"""Embeds in as many processes as torchrun starts; see test_embedding_processes.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mindeye import arrays
from mindeye.data.scenes import draw_scene, make_scenes
from mindeye.processes import join_processes
from mindeye.targets.augment import recolour
from mindeye.targets.encoders import load_encoder
from mindeye.targets.store import write_embeddings

COUNT, BATCH = 29, 4


def main(out: str, cut_after: int) -> None:
    processes = join_processes("cpu")
    torch.set_num_threads(1)
    arrays.KEEP_EVERY = 0.0
    folder, encoder = Path(out), load_encoder("zoo", device=processes.device)
    pictures = np.stack([draw_scene(s) for s in make_scenes(COUNT, 5)])
    batches = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        if len(batches) == cut_after:
            os._exit(0)  # as a power cut: nothing is tidied up
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
    main(sys.argv[1], int(sys.argv[2]))
