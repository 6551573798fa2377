"""What the measurements of galleries say: operating points, growth, plans, and tables of them.

Growth is a power law through several sizes. A plan is for a gallery too large for one machine: it
is cut into shards of the largest size that was measured, so that of every shard memory, disk and
time are measured; only their number is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

MARGIN_RECALL = 0.965
"""Recall asked of the tuning queries: the goal of .95 and a margin for other queries."""

RULE = (
    f"the fastest point whose recall on the tuning queries is at least {MARGIN_RECALL}; where none "
    "is, the one of the highest recall"
)

NPROBES = (4, 8, 16, 32, 64, 128)
RERANKS = (32, 64, 128, 256, 512)
EFS = (16, 32, 64, 128, 256)


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the k true nearest rows that are among the k found, in [0, 1].

    Parameters
    ----------
    found, true
        (Q, k) rows, -1 for none; no row twice in a line. Chance is k / G.
    """
    if found.shape != true.shape:
        raise ValueError(f"rows {found.shape} found, {true.shape} true")
    # A row is looked for in its own query's line only, since each line gets its own range.
    step = int(max(found.max(), true.max())) + 2
    lines = np.arange(len(true))[:, None] * step
    hit = np.isin(true + lines, found + lines) & (true >= 0)
    return float(hit.mean())


def grid(index: str, lists: int) -> list[dict[str, int]]:
    """Return the options of search that are tried for an index."""
    nprobes = [n for n in NPROBES if n <= max(lists, NPROBES[0])]
    if index == "ivfpq":
        return [{"nprobe": n, "rerank": r} for n in nprobes for r in RERANKS]
    if index == "ivfsq8":
        return [{"nprobe": n, "rerank": r} for n in nprobes for r in (0, 32)]
    if index == "ivfflat":
        return [{"nprobe": n, "rerank": 0} for n in nprobes]
    if index == "hnsw":
        return [{"ef": ef} for ef in EFS]
    return [{}]


def choose(points: Sequence[Mapping[str, Any]]) -> int:
    """Return which point `RULE` takes; it looks at ``tuning_recall`` and ``tuning_seconds`` only.

    Parameters
    ----------
    points
        At least one, with both numbers.
    """
    good = [i for i, p in enumerate(points) if p["tuning_recall"] >= MARGIN_RECALL]
    if not good:
        best = max(p["tuning_recall"] for p in points)
        good = [i for i, p in enumerate(points) if p["tuning_recall"] == best]
    return min(good, key=lambda i: (points[i]["tuning_seconds"], i))


class PowerLaw(NamedTuple):
    """``value = factor * size ** exponent``, by least squares of the logarithms.

    Attributes
    ----------
    exponent, factor
        Of the law.
    points
        Sizes it was fitted to, at least 2; through 2 it passes exactly.
    worst
        Largest ratio of a measured value to the law's or of the law's to it, at least 1.
    """

    exponent: float
    factor: float
    points: int
    worst: float

    def at(self, size: float) -> float:
        """Return the law's value."""
        return float(self.factor * size**self.exponent)


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """Fit a power law.

    Raises
    ------
    DataError
        If there are fewer than two different sizes, or a number is not positive.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    if len(np.unique(x)) < 2 or x.shape != y.shape or not (np.all(x > 0) and np.all(y > 0)):
        raise DataError(
            f"a power law is fitted to positive values at two sizes at least; got {list(values)} "
            f"at {list(sizes)}"
        )
    exponent, constant = np.polyfit(np.log(x), np.log(y), 1)
    off = np.abs(np.log(y) - constant - exponent * np.log(x))
    return PowerLaw(float(exponent), float(np.exp(constant)), len(x), float(np.exp(off.max())))


QUANTITIES: dict[str, Callable[[Mapping[str, Any], str], float]] = {
    "parts: seconds": lambda c, i: c["gallery"]["seconds"],
    "index: seconds to build": lambda c, i: c["indices"][i]["build"]["seconds"],
    "index: own memory of the build, bytes": lambda c, i: c["indices"][i]["build"][
        "peak_anonymous"
    ],
    "index: bytes on disk": lambda c, i: c["indices"][i]["build"]["bytes"],
    "one query, seconds": lambda c, i: c["ways"][f"{i}:ours"]["single_median"],
    "query of a batch, seconds": lambda c, i: 1 / c["ways"][f"{i}:ours"]["queries_per_second"],
    "exact, query of a batch, seconds": lambda c, i: c["exact"]["seconds"] / c["exact"]["queries"],
    "own memory of one search, bytes": lambda c, i: c["indices"][i]["memory"]["one_anonymous"],
}
"""What is fitted -> where a bench's result has it, for one index."""


def growth(benches: Sequence[Mapping[str, Any]], index: str) -> dict[str, PowerLaw]:
    """Return the law of every quantity of an index over the sizes at which it was built.

    Raises
    ------
    DataError
        If it was built at fewer than two sizes.
    """
    having = [content for content in benches if index in content["indices"]]
    sizes = [content["vectors_count"] for content in having]
    return {
        name: power_law(sizes, [read(content, index) for content in having])
        for name, read in QUANTITIES.items()
    }


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


GB = 1e9


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    return "\n".join([*_head(content), *_indices(content), *_ways(content), *_verdict(content)])


def _head(content: dict[str, Any]) -> list[str]:
    place, made, parts = content["machine"], content["vectors"], content["gallery"]
    exact = content["exact"]
    near = made["geometry"]
    return [
        f"{content['queries']} queries, k {content['k']}, {parts['bytes'] / GB:.2f} GB of vectors "
        f"of width {content['width']}; {place['threads']} threads, load {place['load']}; synthetic "
        f"(two have a cosine of {near['cosine_of_two']:.2f}, a query and its {content['k']}th "
        f"neighbour {exact['cosine_of_the_last']:.2f})",
        f"vectors drawn in {made['seconds']:.0f} s, gallery built in {parts['seconds']:.0f} s"
        f"{' (gone on with)' if parts['resumed'] else ''}, peak memory "
        f"{parts['peak_anonymous'] / GB:.2f} GB of its own, {parts['peak_resident'] / GB:.2f} GB "
        f"with mapped pages; exact pass over {exact['queries']} queries {exact['seconds']:.1f} s",
        "",
    ]


def _indices(content: dict[str, Any]) -> list[str]:
    lines = [
        f"{'index':<8}{'build s':>9}{'own GB':>8}{'peak GB':>9}{'disk GB':>9}{'recall':>8}"
        f"{'x exact':>9}{'x (one)':>9}{'overhead':>10}{'one: own':>10}{'total':>7}"
        f"{'batch: own':>12}{'total':>7}   point"
    ]
    for index, one in content["indices"].items():
        built, memory, point = one["build"], one["memory"], one["point"]
        single = one["speed_up"].get("single")
        told = ", ".join(f"{k} {v}" for k, v in point.items() if not k.startswith("tuning_"))
        lines.append(
            f"{index:<8}{built['seconds']:>9.1f}{built['peak_anonymous'] / GB:>8.2f}"
            f"{built['peak_resident'] / GB:>9.2f}{built['bytes'] / GB:>9.3f}{one['recall']:>8.3f}"
            f"{one['speed_up']['batch']:>9.1f}{'-' if single is None else f'{single:.1f}':>9}"
            f"{one['overhead']['single']:>10.1%}"
            + "".join(
                f"{memory[f'{how}_{kind}_share']:>{width}.0%}"
                for how, kind, width in (
                    ("one", "anonymous", 10),
                    ("one", "resident", 7),
                    ("batch", "anonymous", 12),
                    ("batch", "resident", 7),
                )
            )
            + f"   {told or '-'}"
        )
    return [*lines, "memory of a search is a share of the vectors' bytes", ""]


def _ways(content: dict[str, Any]) -> list[str]:
    lines = [f"{'in turns':<22}{'recall':>8}{'one ms':>9}{'95 %':>9}{'queries/s':>11}"]
    for name, way in content["ways"].items():
        lines.append(
            f"{name:<22}{way['recall']:>8.3f}{way['single_median'] * 1e3:>9.2f}"
            f"{way['single_95'] * 1e3:>9.2f}{way['queries_per_second']:>11.0f}"
        )
    return [
        *lines,
        "ours: with exact re-ranking where the point says so; plain: neither side re-ranks; faiss "
        "re-ranks by IndexRefine over float16 vectors in memory",
        "",
    ]


def _verdict(content: dict[str, Any]) -> list[str]:
    return [
        f"the point of an index is {content['rule']}; it was chosen on other queries than these",
        *(f"{name}: {text}" for name, text in verdict(content).items()),
    ]


def verdict(content: dict[str, Any]) -> dict[str, str]:
    """Return every goal -> whether it is met, with the numbers; IVF-PQ where it is there."""
    if "ivfpq" not in content["indices"]:
        return {}
    one, goals = content["indices"]["ivfpq"], content["goals"]
    speed, share = one["speed_up"], one["memory"]["one_anonymous_share"]
    single = f", {speed['single']:.1f} one by one" if "single" in speed else ""
    met = {
        "overhead": one["overhead"]["single"] <= goals["overhead"],
        "recall": one["recall"] >= goals["recall"],
        "speed-up": speed["batch"] >= goals["speed_up"],
        "memory": share <= goals["memory_share"],
    }
    told = {
        "overhead": f"{one['overhead']['single']:.1%} one by one, {one['overhead']['batch']:.1%} "
        f"in a batch (goal {goals['overhead']:.0%})",
        "recall": f"{one['recall']:.3f} (goal {goals['recall']})",
        "speed-up": f"{speed['batch']:.1f} in a batch{single} (goal {goals['speed_up']:.0f})",
        "memory": f"{share:.1%} of the vectors' size, one search, own memory (goal "
        f"{goals['memory_share']:.0%})",
    }
    return {name: f"{'met' if met[name] else 'NOT met'}, {told[name]}" for name in told}
