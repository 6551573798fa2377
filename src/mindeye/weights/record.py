"""What a model's folder says of itself: id, commit, licence, when it was fetched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mindeye.files import read_json, write_json
from mindeye.weights.table import MODELS, Model

RECORD = "mindeye_model.json"


class Facts(NamedTuple):
    """The revision that was asked for, the commit it was then, and the model's licence."""

    revision: str
    commit: str
    licence: str


def write_record(
    folder: Path, model: Model, facts: Facts, *, files: Sequence[str], absent: Sequence[str] = ()
) -> None:
    """Write the record of a fetched model.

    Parameters
    ----------
    folder
        The model's folder.
    model
        Entry of the model in the table.
    facts
        Revision, commit and licence.
    files
        Paths of all files that are here, fetched now or before.
    absent
        Files of the table that the revision does not have.
    """
    content = {"id": model.id, **facts._asdict(), "files": sorted(set(files))}
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(folder / RECORD, {**content, "absent": list(absent), "date": date})


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in a folder, {} without a readable one."""
    try:
        found = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record_of(path: Path) -> dict[str, Any]:
    """Return what is known of the model that a file or folder belongs to.

    Parameters
    ----------
    path
        What `find_weights` returned: a model's folder, a folder inside it, or a file.

    Returns
    -------
    dict
        ``id``, ``revision``, ``commit`` and ``licence``; each "" where nobody says.
    """
    for folder in (path, *list(path.absolute().parents)[:4]):
        found = read_record(folder)
        if found:
            return {n: str(found.get(n, "")) for n in ("id", "revision", "commit", "licence")}
    parts = path.absolute().parts
    for part, after in zip(parts, (*parts[1:], ""), strict=True):
        # ORG--NAME is how fetched models are laid out, models--ORG--NAME the hub's cache.
        model = MODELS.get(part.removeprefix("models--").replace("--", "/"))
        if model is not None:
            commit = parts[parts.index(part) + 2] if after == "snapshots" else ""
            return _known(model, commit)
        model = MODELS.get(f"{part}/{after}")
        if model is not None:
            return _known(model, "")
    return dict.fromkeys(("id", "revision", "commit", "licence"), "")


def _known(model: Model, commit: str) -> dict[str, Any]:
    return {"id": model.id, "revision": "", "commit": commit, "licence": model.licence}


def licence_of(path: Path) -> str:
    """Return the licence of the model that a file or folder belongs to, "" if nobody says."""
    return str(record_of(path)["licence"])
