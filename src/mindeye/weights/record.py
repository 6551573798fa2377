"""What a fetched model's folder says of itself: id, revision, commit, licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.files import read_json
from mindeye.weights.table import MODELS

RECORD = "mindeye_model.json"
FACTS = ("id", "revision", "commit", "licence")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in a folder, {} without a readable one."""
    try:
        found = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record_of(path: Path) -> dict[str, str]:
    """Return what is known of the model that a file or folder belongs to.

    Parameters
    ----------
    path
        Path that `find_weights` returned: a model's folder, a folder inside it, or a file.

    Returns
    -------
    dict
        ``id``, ``revision``, ``commit`` and ``licence``; each "" where nobody says.
    """
    folders = (path, *list(path.absolute().parents)[:4])
    found = next((record for record in map(read_record, folders) if record), {})
    if found:
        return {name: str(found.get(name, "")) for name in FACTS}
    parts = path.absolute().parts
    for part, after in zip(parts, (*parts[1:], ""), strict=True):
        # ORG--NAME is how fetched models are laid out, models--ORG--NAME the hub's cache.
        cached = MODELS.get(part.removeprefix("models--").replace("--", "/"))
        model = cached or MODELS.get(f"{part}/{after}")
        if model is not None:
            commit = parts[parts.index(part) + 2] if cached and after == "snapshots" else ""
            return {"id": model.id, "revision": "", "commit": commit, "licence": model.licence}
    return dict.fromkeys(FACTS, "")
