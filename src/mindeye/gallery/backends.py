"""The back-ends of galleries, by name."""

from __future__ import annotations

import importlib
from typing import cast

from mindeye.errors import ConfigError
from mindeye.gallery.base import BackendModule

BACKENDS = {
    "exact": "mindeye.gallery.exact",
    "faiss": "mindeye.gallery.faiss_index",
    "milvus": "mindeye.gallery.milvus",
}
"""Name -> module with ``build`` and ``open``, imported when it is asked for."""


def load_backend(name: str) -> BackendModule:
    """Return a back-end's module.

    Raises
    ------
    ConfigError
        If there is none of that name; lists the known ones.
    """
    if name not in BACKENDS:
        raise ConfigError(f"no back-end {name!r}; known back-ends: {', '.join(BACKENDS)}")
    return cast(BackendModule, importlib.import_module(BACKENDS[name]))
