"""Find the golden folder, read its manifest and its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ENVIRONMENT = "MINDEYE_GOLDEN"
DEFAULT = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden" / "public"
ZIP_MAGIC = b"PK"


@dataclass(frozen=True)
class Entry:
    """One file of the golden folder: what it holds is said by `kind` alone."""

    folder: Path
    name: str
    kind: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    arrays: dict[str, Tensor]
    document: dict[str, Any]

    def network(self) -> Entry:
        """The entry that `net_file` refers to."""
        return read_entry(self.folder, self.config["net_file"], read_manifest(self.folder))

    def under(self, tag: str) -> dict[str, Tensor]:
        """Arrays whose name begins with `tag/`, without it."""
        return {k[len(tag) + 1 :]: v for k, v in self.arrays.items() if k.startswith(tag + "/")}


def golden_folder() -> Path:
    return Path(os.environ.get(ENVIRONMENT, DEFAULT))


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File name to its description; empty if there is no manifest."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")).get("files", {}))


def read_entry(folder: Path, name: str, files: dict[str, dict[str, Any]]) -> Entry:
    description = files[name]
    path = folder / name
    config = dict(description.get("config") or {})
    kind = str(description["kind"])
    with path.open("rb") as stream:
        is_archive = stream.read(2) == ZIP_MAGIC
    if not is_archive:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Entry(folder, name, kind, config, {}, {}, document)
    state, arrays = {}, {}
    with np.load(path, allow_pickle=False) as archive:
        if "config" in archive.files:
            config |= json.loads(str(archive["config"]))
        for key in archive.files:
            if key == "config" or key.startswith("scale/"):
                continue
            values = np.array(archive[key])
            if key.startswith("sd/"):
                scale = "scale/" + key[3:]
                if scale in archive.files:  # int8 codes times a power of two
                    values = values.astype(np.float32) * archive[scale]
                state[key[3:]] = torch.from_numpy(np.array(values))
            else:
                arrays[key] = torch.from_numpy(values)
    return Entry(folder, name, kind, config, state, arrays, {})
