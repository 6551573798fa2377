"""Embeddings on disk: computed once, memory-mapped, keyed by model, weights and versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import CheckpointError, DataError
from mindeye.progress import track
from mindeye.runs import atomic_path, read_json, write_json
from mindeye.targets.images import to_images


def write_embeddings(
    folder: Path,
    name: str,
    encode: Callable[[Tensor], Tensor],
    pictures: NDArray[np.uint8],
    *,
    fingerprint: str,
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Embed every picture and keep the result, or open it if it is already there.

    Parameters
    ----------
    folder
        Where the store is.
    name
        Name of the array, such as ``tokens`` or ``latents``.
    encode
        Images (N, 3, H, W) -> embeddings (N, ...).
    pictures
        (S, H, W, 3), 0..255.
    fingerprint
        Identity of the model and of the pictures; a store of another identity is replaced.
    batch_size
        Pictures embedded at once.

    Returns
    -------
    array
        (S, ...) float32, memory-mapped.

    Raises
    ------
    DataError
        If the model returns a value that is not finite; names the first such picture.
    """
    meta = folder / f"{name}.json"
    if meta.is_file() and read_json(meta).get("fingerprint") == fingerprint:
        return read_embeddings(folder, name, fingerprint=fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / f"{name}.npy") as temporary:
        target: Any = None
        for start in track(range(0, len(pictures), batch_size), f"embed {name}"):
            block = encode(to_images(pictures[start : start + batch_size])).float().numpy()
            if target is None:
                target = np.lib.format.open_memmap(
                    temporary, mode="w+", dtype=np.float32, shape=(len(pictures), *block.shape[1:])
                )
            bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
            if bad.any():
                raise DataError(f"the {name} of picture {start + int(bad.argmax())} are not finite")
            target[start : start + len(block)] = block
        target.flush()
        del target
    write_json(meta, {"fingerprint": fingerprint, "count": len(pictures)})
    return read_embeddings(folder, name, fingerprint=fingerprint)


def read_embeddings(folder: Path, name: str, *, fingerprint: str) -> NDArray[np.float32]:
    """Open stored embeddings (S, ...), memory-mapped.

    Raises
    ------
    CheckpointError
        If they are missing or were made by another model, other weights or other pictures.
    """
    meta = folder / f"{name}.json"
    if not meta.is_file():
        raise CheckpointError(f"no {name} in {folder}; run the stage embed first")
    found = read_json(meta).get("fingerprint")
    if found != fingerprint:
        raise CheckpointError(
            f"{folder / name}.npy was made under {found}, this run needs {fingerprint}; delete it "
            "to have it embedded again"
        )
    stored: NDArray[np.float32] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return stored
