"""Whether weights on disk are whole: no half downloads, no pointers, no pickles unasked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mindeye.errors import CheckpointError
from mindeye.weights.record import read_record
from mindeye.weights.table import Model, pickle_of, within

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state")
"""Stems of pickles that trainers leave beside weights and nobody loads."""
LFS = b"version https://git-lfs"
AGAIN = "a download broke off; delete it and run `mindeye fetch models` again"


def check_file(path: Path, *, allow_pickles: bool = False) -> None:
    """Refuse a weights file that is empty, torn, a git-LFS pointer, or a pickle unasked.

    Raises
    ------
    CheckpointError
        Naming the file and what to do.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            head = file.read(len(LFS))
        if not head:
            raise CheckpointError(f"{path} is empty, {AGAIN}")
        if head == LFS:
            raise CheckpointError(
                f"{path} is a git-LFS pointer, not the weights themselves; run `git lfs pull` in "
                "its folder, or `mindeye fetch models`"
            )
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy"):  # Compares header and length of the file.
                return
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole safetensors file ({error}), {AGAIN}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}), {AGAIN}") from error
    if path.suffix in PICKLES and not allow_pickles:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is loaded, and no .safetensors lies "
            "beside it; if you trust its source, `mindeye fetch models --allow-pickles` rewrites "
            "it as safetensors"
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
        Entry of the table whose needed files must be there; without one every weights file that is
        there must be whole.
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
    # The download client's cache may hold halves of files that have come whole since.
    files = [p for p in sorted(asked.rglob("*")) if ".cache" not in p.relative_to(asked).parts]
    for path in files:
        if path.suffix == ".incomplete":
            raise CheckpointError(f"{path}: {AGAIN}")
    needed: list[str] = []
    if model is not None:
        needed = [file.path for file in model.weights if within(file.path, inside)]
        excused = read_record(folder).get("absent", [])
        for name in model.settings:
            path = folder / name
            there = path.is_file() and path.stat().st_size > 0
            if within(name, inside) and name not in excused and not there:
                raise CheckpointError(_lacks(folder, name))
    for name in needed:
        _check_needed(folder, name, allow_pickles)
    if not needed:
        _check_all(asked, files, allow_pickles)


def _lacks(folder: Path, name: str) -> str:
    return f"{folder} lacks {name}, a download broke off; fetch it again"


def _check_needed(folder: Path, name: str, allow_pickles: bool) -> None:
    """Check one weights file of the table: whole, in shards, or as a pickle."""
    path, pickled = folder / name, folder / pickle_of(name)
    index = folder / f"{name}.index.json"
    if path.exists() or path.is_symlink():
        check_file(path)
    elif index.is_file():
        _check_shards(index)
    elif pickled.is_file():
        check_file(pickled, allow_pickles=allow_pickles)
    else:
        raise CheckpointError(_lacks(folder, name))


def _check_shards(index: Path) -> None:
    """Check every shard that an index names."""
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(name) for name in shards})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards ({error}), {AGAIN}") from error
    for name in names:
        if "/" in name or "\\" in name or name == "..":
            raise CheckpointError(f"{index} names a shard {name!r} outside of its folder; refused")
        if not (index.parent / name).exists():
            raise CheckpointError(f"{_lacks(index.parent, name)} ({index.name} names it)")
        check_file(index.parent / name, allow_pickles=True)


def _check_all(folder: Path, files: Sequence[Path], allow_pickles: bool) -> None:
    """Check whatever weights are in a folder that the table knows nothing of."""
    tensors = [p for p in files if p.suffix == ".safetensors"]
    pickles = [p for p in files if p.suffix in PICKLES and p.stem not in NOT_WEIGHTS]
    if not tensors and not pickles:
        raise CheckpointError(f"{folder} holds no weights (.safetensors)")
    for path in tensors:
        check_file(path)
    for path in files:
        if path.name.endswith(".safetensors.index.json"):
            _check_shards(path)
    safe = {p.parent for p in tensors}
    for path in pickles:
        if path.parent not in safe:
            check_file(path, allow_pickles=allow_pickles)
