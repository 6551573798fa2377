"""Where training targets come from: a cache of one or more views, or an encoder at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.data.images import to_images
from mindeye.errors import ConfigError
from mindeye.processes import Processes
from mindeye.targets.augment import augment
from mindeye.targets.encoders import Encoder
from mindeye.targets.store import Stored, write_embeddings


class TargetSource(Protocol):
    """Gives the embeddings that one optimisation step trains on."""

    def __call__(self, rows: Tensor, *, rng: torch.Generator) -> Tensor:
        """Return targets (N, K, D), float32 on the CPU, of rows (N,) of the store."""
        ...


class StoredTargets:
    """Targets out of one or more cached views of every stimulus.

    Only the rows asked for are read: at full size an array has 8 GB.

    Parameters
    ----------
    arrays
        Views (S, K, D), memory-mapped, float32 or float16. Of several, one per stimulus is drawn
        uniformly; with one nothing is drawn.
    """

    def __init__(self, arrays: Sequence[NDArray[np.floating] | Tensor]) -> None:
        self.views = [a if isinstance(a, Tensor) else torch.from_numpy(a) for a in arrays]
        shapes = {tuple(view.shape) for view in self.views}
        if len(shapes) != 1:
            raise ConfigError(f"views of one shape are needed, not of {sorted(shapes)}")

    def __call__(self, rows: Tensor, *, rng: torch.Generator) -> Tensor:
        """Return targets (N, K, D)."""
        rows = rows.cpu()
        if len(self.views) == 1:
            return self.views[0][rows].float()
        chosen = torch.randint(len(self.views), rows.shape, generator=rng)
        targets = torch.empty(len(rows), *self.views[0].shape[1:])
        for number, view in enumerate(self.views):
            targets[chosen == number] = view[rows[chosen == number]].float()
        return targets


class RecomputedTargets:
    """Targets of pictures augmented and embedded anew at every step, as published.

    Parameters
    ----------
    encode
        Images (N, 3, H, W) -> tokens (N, K, D).
    pictures
        (S, H, W, 3), 0..255; row for row those of the store.
    size
        Side that pictures are augmented at, best the encoder's own; None for that of `pictures`.
    device
        Device on which pictures are augmented; the CPU by default.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        pictures: NDArray[np.uint8],
        *,
        size: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.encode, self.pictures = encode, pictures
        self.size, self.device = size, device or torch.device("cpu")

    def __call__(self, rows: Tensor, *, rng: torch.Generator) -> Tensor:
        """Return targets (N, K, D)."""
        images = to_images(self.pictures[rows.cpu().numpy()]).to(self.device)
        views = augment(images, seeds=draw_seeds(len(rows), rng), size=self.size)
        # An encoder runs in inference mode, and autograd takes such tensors only as copies.
        return self.encode(views).float().cpu().clone()


def draw_seeds(count: int, rng: torch.Generator) -> list[int]:
    """Return seeds for so many pictures."""
    seeds: list[int] = torch.randint(2**62, (count,), generator=rng).tolist()
    return seeds


def view_seeds(seed: int, view: int, rows: Sequence[int]) -> list[int]:
    """Return the seeds by which view `view` (from 1) of pictures is augmented in a run."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(view, row)) for row in rows)
    return [int(s.generate_state(1, np.uint64)[0]) for s in sequences]


def view_names(count: int) -> list[str]:
    """Return the names of cached views in the store."""
    return [f"tokens_view{view}" for view in range(1, count + 1)]


def write_views(
    folder: Path,
    encoder: Encoder,
    pictures: NDArray[np.uint8],
    *,
    seed: int,
    count: int,
    fingerprint: str,
    batch_size: int = 64,
    size: int | None = None,
    stored: Stored = "float32",
    processes: Processes | None = None,
) -> list[NDArray[np.floating]]:
    """Embed augmented views of every picture and keep them, or open those that are there.

    Parameters
    ----------
    folder
        Folder of the store.
    encoder
        What embeds them.
    pictures
        (S, H, W, 3), 0..255.
    seed
        Seed of the run; with the view's number and the picture's row it decides an augmentation.
    count
        Number of views.
    fingerprint
        Identity of the model and of the pictures, by which `read_embeddings` opens a view. A
        folder belongs to one run, so that it need not tell seeds apart.
    batch_size
        Pictures embedded at once.
    size
        Side that pictures are augmented at, best the encoder's own; None for that of `pictures`.
    stored, processes
        Type of the numbers on disk, and the process group, as `write_embeddings` takes them.

    Returns
    -------
    list
        The views, each (S, K, D), memory-mapped.
    """

    def prepare_view(view: int) -> Callable[[Tensor, range], Tensor]:
        return lambda images, rows: augment(images, seeds=view_seeds(seed, view, rows), size=size)

    return [
        write_embeddings(
            folder,
            name,
            encoder.encode,
            pictures,
            fingerprint=fingerprint,
            batch_size=batch_size,
            prepare=prepare_view(view),
            stored=stored,
            processes=processes,
        )
        for view, name in enumerate(view_names(count), start=1)
    ]


def moments(
    array: NDArray[np.floating], rows: Sequence[int] | NDArray[np.int64], *, block: int = 256
) -> tuple[Tensor, float]:
    """Return the mean of embeddings and their mean square deviation from it, in one pass.

    Blocks are merged by the update of Chan, Golub and LeVeque (1979), in float64.

    Parameters
    ----------
    array
        (S, K, D), memory-mapped; never read as a whole.
    rows
        The rows that count, at least one.
    block
        Rows read at once.

    Returns
    -------
    mean, variance
        (K, D) float64, and one number over all rows, tokens and dimensions.
    """
    ordered = np.sort(np.asarray(rows))  # a file is read faster from front to back
    mean: NDArray[Any] = np.zeros(array.shape[1:])
    squares, counted = 0.0, 0
    for start in range(0, len(ordered), block):
        values = np.asarray(array[ordered[start : start + block]], dtype=np.float32)
        own = values.mean(axis=0, dtype=np.float64)
        deviations = (values - own).ravel()
        shift = own - mean
        total = counted + len(values)
        squares += float(deviations @ deviations)
        squares += float(shift.ravel() @ shift.ravel()) * counted * len(values) / total
        mean += shift * len(values) / total
        counted = total
    return torch.from_numpy(mean), squares / (counted * mean.size)
