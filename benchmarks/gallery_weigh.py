"""Memory of a search in a process that does nothing else and has loaded nothing else.

Started by `benchmarks.gallery`; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gallery_memory import PeakMemory, memory
from mindeye.errors import MindEyeError
from mindeye.gallery.gallery import Gallery


def weigh(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the memory of one search, then of a whole batch, on the mapped index."""
    work = Path(job["work"])
    queries = np.load(work / "queries.npy")
    before = memory()
    with PeakMemory() as one:
        gallery = Gallery.open(work / job["index"]).with_options(**job["point"])
        searcher = gallery.searcher
        searcher.search(queries[:1], job["k"])
    with PeakMemory() as batch:
        searcher.search(queries, job["k"])
    size = 2 * len(gallery) * gallery.info.width
    return {
        "vectors_bytes": size,
        "anonymous_before": before["anonymous"],
        "resident_before": before["resident"],
        **{
            f"{name}_{kind}": getattr(peak, kind)
            for name, peak in (("one", one), ("batch", batch))
            for kind in ("anonymous", "resident")
        },
        **{
            f"{name}_{kind}_share": getattr(peak, kind) / size
            for name, peak in (("one", one), ("batch", batch))
            for kind in ("anonymous", "resident")
        },
    }


if __name__ == "__main__":
    try:
        result = weigh(json.loads(sys.argv[1]))
    except MindEyeError as error:
        result = {"error": str(error)}
    print(json.dumps(result))
