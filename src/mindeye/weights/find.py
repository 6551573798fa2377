"""Where the weights of a model lie on this machine; nothing here ever goes online."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from mindeye.errors import CheckpointError, ConfigError
from mindeye.weights.complete import check_file, check_folder
from mindeye.weights.table import MODELS, Model, split_name

ROOT_VARIABLE = "MINDEYE_WEIGHTS"


def find_weights(name: str, root: Path | None = None, *, allow_pickles: bool = False) -> Path:
    """Return the folder or file that a model's name stands for, checked, without any network.

    Parameters
    ----------
    name
        A local folder or file; or a hub id of the table (``ORG/NAME``), a folder inside it
        (``ORG/NAME/FOLDER``) or a file inside it.
    root
        Folder in which hub ids are looked up: as ``ORG--NAME`` or ``ORG/NAME`` (what `mindeye
        fetch models` and ``hf download --local-dir`` write) or laid out as a Hugging Face cache;
        by default the environment's MINDEYE_WEIGHTS, else the Hugging Face cache.
    allow_pickles
        Accept weights that are there only as pickles, which can run code when they are loaded.

    Raises
    ------
    ConfigError
        If the name is neither a local path nor in the table, or `root` is no folder.
    CheckpointError
        If the weights are not on this machine, incomplete, or only there as pickles.
    """
    local = Path(name).expanduser()
    if name and local.exists():
        if local.is_file():
            check_file(local, allow_pickles=allow_pickles)
        else:
            check_folder(local, allow_pickles=allow_pickles)
        return local
    model, inside = known_model(name), split_name(name)[1]
    folder = _folder(model, _root(root))
    found = folder / inside
    if inside and not found.exists():
        raise CheckpointError(f"{folder} has no {inside}; {_advice(model.id)}")
    if found.is_file():
        check_file(found, allow_pickles=allow_pickles)
    else:
        check_folder(folder, model=model, inside=inside, allow_pickles=allow_pickles)
    return found


def known_model(name: str) -> Model:
    """Return the entry of the table that a name belongs to.

    Raises
    ------
    ConfigError
        If there is none; lists those there are, the closest first.
    """
    identity, inside = split_name(name)
    if identity not in MODELS or ".." in inside.split("/"):
        raise ConfigError(_unknown(name))
    return MODELS[identity]


def _root(root: Path | None) -> Path:
    """Return the folder in which ids are looked up."""
    given = root if root is not None and str(root) not in ("", ".") else None
    if given is None and os.environ.get(ROOT_VARIABLE):
        given = Path(os.environ[ROOT_VARIABLE])
    if given is None:
        return hub_cache()
    given = given.expanduser()
    if not given.is_dir():
        raise ConfigError(
            f"weights: there is no folder {given}; fetch models into it or name another"
        )
    return given


def hub_cache() -> Path:
    """Return the Hugging Face cache, by the environment variables that the hub's client reads."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def folders_of(model: Model, root: Path) -> Iterator[Path]:
    """Yield where a model's folder can be below a root, the likeliest first."""
    yield root / model.id.replace("/", "--")
    yield root / model.id
    cached = root / f"models--{model.id.replace('/', '--')}"
    commit = cached / "refs" / model.revision
    if commit.is_file():
        yield cached / "snapshots" / commit.read_text(encoding="utf-8").strip()
    else:
        yield cached / "snapshots" / model.revision


def _folder(model: Model, root: Path) -> Path:
    """Return the model's folder below the root."""
    for folder in folders_of(model, root):
        if folder.is_dir():
            return folder
    others = sorted((root / f"models--{model.id.replace('/', '--')}" / "snapshots").glob("*"))
    if others:
        raise CheckpointError(
            f"{model.id} is in {root} at another revision than the table's {model.revision}: "
            f"{others[0]}; give that folder's path as the name if it is meant, or "
            f"{_advice(model.id)}"
        )
    raise CheckpointError(f"{model.id} is not in {root}; {_advice(model.id)}")


def _advice(identity: str) -> str:
    return (
        f"fetch it with `mindeye fetch models {identity} --root DIR` and give DIR as weights=DIR "
        "(run), --weights DIR (generate) or MINDEYE_WEIGHTS"
    )


def _unknown(name: str) -> str:
    """Say that a name is neither a path nor known, and what was perhaps meant."""
    identity, _ = split_name(name)
    close = difflib.get_close_matches(identity, MODELS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return (
        f"there is no local folder {name!r} and no model of that id is known{hint} Known: "
        f"{', '.join(sorted(MODELS))}. `mindeye fetch models PRESET` fetches what a preset names"
    )
