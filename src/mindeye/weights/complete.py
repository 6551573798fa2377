"""Whether weights on disk are whole: no half downloads, no pointers, no pickles unasked."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError
from mindeye.weights.record import read_record
from mindeye.weights.table import Model, pickle_of, within

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state")
"""Stems of pickles that trainers leave beside weights and nobody loads."""
SHARD = r"-\d{5}-of-\d{5}\.safetensors"
"""What follows the stem in the name of one of several safetensors files."""
LFS = b"version https://git-lfs"
AGAIN = "delete it and run `mindeye fetch models` again"


def check_file(path: Path, *, allow_pickles: bool = False) -> None:
    """Refuse a weights file that is empty, torn, a git-LFS pointer, or a pickle unasked.

    Raises
    ------
    CheckpointError
        Naming the file and what to do.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(LFS))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {AGAIN}") from error
    if size == 0:
        raise CheckpointError(f"{path} is empty, a download broke off; {AGAIN}")
    if head == LFS:
        raise CheckpointError(
            f"{path} is a git-LFS pointer, not the weights themselves; run `git lfs pull` in its "
            "folder, or `mindeye fetch models`"
        )
    if path.suffix == ".safetensors":
        _check_safetensors(path, size)
    elif path.suffix in PICKLES and not allow_pickles:
        raise CheckpointError(_pickled(path))


def _check_safetensors(path: Path, size: int) -> None:
    """Compare a safetensors file's length with the end of its last tensor; 8 + N header bytes."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error}); {AGAIN}") from error
    if size != wanted:
        raise CheckpointError(
            f"{path} has {size:,} bytes where its header says {wanted:,}, a download broke off; "
            f"{AGAIN}"
        )


def check_folder(
    folder: Path, *, model: Model | None = None, inside: str = "", allow_pickles: bool = False
) -> None:
    """Refuse a model's folder that is not whole.

    Parameters
    ----------
    folder
        The model's folder.
    model
        Entry of the model in the table, whose needed files must be there; without one every weights
        file that is there must be whole.
    inside
        Folder within it that is asked for; only what lies below counts.
    allow_pickles
        Accept weights that are there only as pickles.

    Raises
    ------
    CheckpointError
        Naming the file that is missing, torn or a pickle, and what to do.
    """
    asked = folder / inside
    torn = next(asked.rglob("*.incomplete"), None)
    if torn is not None and not _other_blob(asked, torn):
        raise CheckpointError(
            f"{torn} is a download that broke off; run `mindeye fetch models` again"
        )
    if model is None:
        _check_any(asked, allow_pickles)
        return
    absent = read_record(folder).get("absent", [])
    for name in model.settings:
        if within(name, inside) and name not in absent and not _filled(folder / name):
            raise CheckpointError(f"{folder} lacks {name}, a download broke off; fetch it again")
    wanted = [file.path for file in model.weights if within(file.path, inside)]
    for name in wanted:
        _check_needed(folder, name, allow_pickles)
    if not wanted:
        _check_any(asked, allow_pickles)


def _other_blob(folder: Path, torn: Path) -> bool:
    """Tell a blob in the download's own cache, whose file may have come whole since."""
    return ".cache" in torn.relative_to(folder).parts


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _check_needed(folder: Path, name: str, allow_pickles: bool) -> None:
    """Check one weights file of the table: whole, in shards, or as a pickle."""
    path = folder / name
    if path.exists() or path.is_symlink():
        check_file(path)
        return
    index = folder / f"{name}.index.json"
    if index.is_file():
        _check_shards(index)
        return
    pickled = folder / pickle_of(name)
    if pickled.is_file():
        check_file(pickled, allow_pickles=allow_pickles)
        return
    raise CheckpointError(f"{folder} lacks {name}, a download broke off; fetch it again")


def _check_shards(index: Path) -> None:
    """Check every shard that an index names."""
    try:
        shards: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(name) for name in shards})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards ({error}); {AGAIN}") from error
    for name in names:
        if "/" in name or "\\" in name or name == "..":
            raise CheckpointError(f"{index} names a shard {name!r} outside of its folder; refused")
        if not (index.parent / name).exists():
            raise CheckpointError(
                f"{index.parent} lacks the shard {name} that {index.name} names, a download broke "
                "off; fetch it again"
            )
        check_file(index.parent / name, allow_pickles=True)


def _check_any(folder: Path, allow_pickles: bool) -> None:
    """Check a folder that the table knows nothing of by what is in it."""
    files = [p for p in sorted(folder.rglob("*")) if ".cache" not in p.relative_to(folder).parts]
    tensors = [p for p in files if p.suffix == ".safetensors"]
    pickles = [p for p in files if p.suffix in PICKLES and p.stem not in NOT_WEIGHTS]
    for path in tensors:
        check_file(path)
    for path in files:
        if path.name.endswith(".safetensors.index.json"):
            _check_shards(path)
    if not tensors and not pickles:
        raise CheckpointError(f"{folder} holds no weights (.safetensors)")
    safe = {p.parent for p in tensors}
    for path in pickles:
        if path.parent not in safe:
            check_file(path, allow_pickles=allow_pickles)


def _pickled(path: Path) -> str:
    return (
        f"{path} is a pickle, which can run code when it is loaded, and no .safetensors lies "
        "beside it; if you trust its source, `mindeye fetch models --allow-pickles` rewrites it as "
        "safetensors"
    )
