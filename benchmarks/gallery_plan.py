"""A plan for a gallery too large for one machine, out of what was measured at a size that fits.

The gallery is cut into shards of the largest size that was measured, so that of every shard memory,
disk and time are measured; only their number is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LAION_5B = 5.85e9
"""Pairs of LAION-5B, which the paper's retrieval searched (Schuhmann et al.
2022, arXiv 2210.08402, abstract)."""

HALF = 2
ROW_ID = 8
"""Bytes of a number of float16, and of faiss's number of a row."""


@dataclass(frozen=True)
class Assumptions:
    """What was not measured and is put in by hand.

    Parameters
    ----------
    total
        Vectors of the whole gallery.
    metadata
        Bytes a row of id, caption, url and where; ours had ids only.
    memory, disk
        Of a machine, GB of 10^9 bytes.
    use
        Share of both that is filled.
    cores
        Of a machine.
    copies
        Of everything.
    memory_price, disk_price
        Dollars a GB and month; 0 leaves costs out.
    core_price
        Dollars a core and hour.
    said
        Where the prices are from, and when.
    """

    total: float = LAION_5B
    metadata: int = 200
    memory: float = 256.0
    disk: float = 4000.0
    use: float = 0.8
    cores: int = 32
    copies: int = 1
    memory_price: float = 0.0
    disk_price: float = 0.0
    core_price: float = 0.0
    said: str = ""


def plan(content: Mapping[str, Any], index: str, assumed: Assumptions) -> dict[str, float]:
    """Return the plan, out of the bench of the largest size.

    Returns
    -------
    dict
        ``measured_...`` of one shard; all else is extrapolated by counting shards.
    """
    one, size = content["indices"][index], content["vectors_count"]
    way = content["ways"][f"{index}:ours"]
    built = content["gallery"]["seconds"] + one["build"]["seconds"]
    index_bytes = one["build"]["bytes"] / size
    vector_bytes = content["width"] * HALF
    shards = math.ceil(assumed.total / size)
    in_memory = shards * one["build"]["bytes"] * assumed.copies
    on_disk = assumed.total * (vector_bytes + index_bytes + assumed.metadata) * assumed.copies
    by_memory = math.ceil(in_memory / (assumed.memory * 1e9 * assumed.use))
    by_disk = math.ceil(on_disk / (assumed.disk * 1e9 * assumed.use))
    machines = max(by_memory, by_disk)
    threads = content["machine"]["threads"]
    core_hours = shards * built * threads / 3600
    # A query goes to every shard; each takes the seconds of one core times the cores it had.
    core_seconds = shards * threads / way["queries_per_second"]
    cores = machines * assumed.cores
    monthly = (
        in_memory / 1e9 * assumed.memory_price
        + on_disk / 1e9 * assumed.disk_price
        + cores * assumed.core_price * 730
    )
    return {
        "measured_vectors": size,
        "measured_build_seconds": built,
        "measured_index_bytes_a_vector": index_bytes,
        "measured_build_memory": one["build"]["peak_anonymous"],
        "measured_recall": one["recall"],
        "vector_bytes": vector_bytes,
        "shards": shards,
        "index_bytes": in_memory,
        "disk_bytes": on_disk,
        "machines_by_memory": by_memory,
        "machines_by_disk": by_disk,
        "machines": machines,
        "cores": cores,
        "build_core_hours": core_hours,
        "build_hours": core_hours / cores,
        "query_core_seconds": core_seconds,
        "query_seconds": core_seconds / cores,
        "build_cost": core_hours * assumed.core_price,
        "monthly_cost": monthly,
    }
