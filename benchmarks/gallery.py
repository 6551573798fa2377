"""Galleries at scale: exact search beside indices, ours beside faiss itself, in one go.

Every step runs in a process of its own, so that its peak memory is its own; what is compared in
time is compared in one process, in turns, so that a drift of the machine hits all alike. Steps that
are done are kept below the work folder, so that a bench that was cut off goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import reported, run_benchmark
from benchmarks.gallery_table import MARGIN_RECALL, RULE, table
from benchmarks.gallery_vectors import Mixture
from benchmarks.timing import machine
from mindeye.config.fingerprints import config_hash
from mindeye.errors import MindEyeError, UsageError
from mindeye.files import provenance, read_json, write_json
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.faiss_index import lists

INDICES = ("ivfpq", "ivfsq8", "hnsw", "flat")

MOST_LISTS = 2048
"""Lists of an inverted file: at 10^7 vectors, twice as many would take twice the time to fill, and
filling is most of a build (10^7 x 2048 x 768 products and sums are 31 Tflop)."""

TRAIN = 64
"""Vectors a list for training: 131,072 at most; ten rounds of k-means are 4 Tflop."""

HNSW_CONSTRUCTION = 40
"""Candidates while HNSW is built: faiss's own default, for the sake of time."""

GOALS = {"overhead": 0.10, "recall": 0.95, "speed_up": 20.0, "memory_share": 0.25}
"""At 10^6 x 768: overhead over faiss, recall@16 and speed of IVF-PQ with re-ranking against exact
search, peak memory of a search as a share of the vectors."""


@dataclass(frozen=True)
class GalleryBench:
    """What to run.

    Parameters
    ----------
    work
        Folder; 5 bytes a number at its peak, without ``flat`` and ``hnsw``, which take 4 more each.
    vectors, width
        G and D.
    queries
        That are measured; half as many others are tuned on.
    k
        Neighbours.
    indices
        Of `INDICES`.
    repetitions
        Of every timing.
    seed
        Of vectors, queries and training.
    build_only
        Build, choose a point, measure recall and memory; indices are timed once, exact search not
        at all beside the pass that finds the true neighbours.
    threads
        Of every process.
    nlist
        Lists of inverted files, 0 for a choice by size.
    part
        Vectors a file.
    processes
        False runs all steps in this process, quickly; the memory told is then not theirs alone.
    """

    work: Path
    vectors: int = 1_000_000
    width: int = 768
    queries: int = 500
    k: int = 16
    indices: tuple[str, ...] = INDICES
    repetitions: int = 3
    seed: int = 0
    build_only: bool = False
    threads: int = 2
    nlist: int = 0
    part: int = 100_000
    processes: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.indices) - set(INDICES))
        if unknown or not self.indices:
            raise UsageError(f"no index {unknown or 'given'}; known: {', '.join(INDICES)}")
        least = {"vectors": 1000, "queries": 8, "k": 1, "repetitions": 1, "threads": 1, "part": 1}
        for name, low in {**least, "nlist": 0, "seed": 0, "width": 8}.items():
            if getattr(self, name) < low:
                raise UsageError(f"bench gallery: {name} is {getattr(self, name)}; at least {low}")

    def options(self, index: str) -> IndexConfig:
        """Return how an index is built."""
        if not index.startswith("ivf"):
            return IndexConfig("faiss", index, ef_construction=HNSW_CONSTRUCTION, seed=self.seed)
        nlist = self.nlist or min(lists(IndexConfig(), self.vectors), MOST_LISTS)
        return IndexConfig("faiss", index, nlist=nlist, train=TRAIN, seed=self.seed)


def bench_gallery(bench: GalleryBench) -> dict[str, Any]:
    """Run all steps.

    Returns
    -------
    dict
        Settings, machine; of every step seconds, bytes and peak memory; of every index the points
        tried and the one chosen; of every way in turns recall, seconds of single queries and of
        batches; and what becomes of it: overhead over faiss, speed beside exact search, memory of a
        search as a share of the vectors.

    Raises
    ------
    MindEyeError
        If a step fails.
    """
    facts = machine()
    shared = {"work": str(bench.work.expanduser().resolve()), "k": bench.k}
    counts = {"queries": bench.queries, "tuning": max(8, bench.queries // 2)}
    common = {**shared, "queries": counts, "count": bench.vectors, "part": bench.part}
    steps = _Steps(bench)
    mixture = asdict(Mixture(width=bench.width, seed=bench.seed))
    found: dict[str, Any] = {
        "vectors": steps.run("vectors", {**common, "mixture": mixture}),
        "gallery": steps.run("parts", {**common, "remove": True}),
        "exact": steps.run("truth", common),
        "indices": {index: _index(steps, bench, index, shared) for index in bench.indices},
    }
    points = {
        index: {k: v for k, v in one["point"].items() if not k.startswith("tuning_")}
        for index, one in found["indices"].items()
    }
    for index, one in found["indices"].items():
        one["memory"] = steps.run("weigh", {**shared, "index": index, "point": points[index]})
    repetitions = 1 if bench.build_only else bench.repetitions
    found["ways"] = steps.run(
        "turns", {**shared, "points": points, "repetitions": repetitions, "only": bench.build_only}
    )
    _compare(found)
    settings = {k: v for k, v in asdict(bench).items() if k not in ("work", "indices", "vectors")}
    return {
        "bench": "gallery",
        "vectors_count": bench.vectors,
        **settings,
        **found,
        "mixture": mixture,
        "rule": RULE,
        "margin_recall": MARGIN_RECALL,
        "goals": GOALS,
        **provenance(),
        "machine": {**facts, "threads": bench.threads, "load_after": machine()["load"]},
    }


def _index(
    steps: _Steps, bench: GalleryBench, index: str, shared: Mapping[str, Any]
) -> dict[str, Any]:
    options = bench.options(index).options
    built = steps.run("build", {**shared, "index": index, "options": options})
    tuned = steps.run("tune", {**shared, "index": index})
    points = tuned["points"]
    return {
        "options": options,
        "build": built,
        "points": points,
        "chosen": tuned["chosen"],
        "point": points[tuned["chosen"]],
    }


def _compare(found: dict[str, Any]) -> None:
    """Put numbers side by side, into every index's entry."""
    ways, scan = found["ways"], found["exact"]
    exact = ways.get("exact:ours") or {"queries_per_second": scan["queries"] / scan["seconds"]}
    for index, one in found["indices"].items():
        ours = ways[f"{index}:ours"]
        one["recall"] = ours["recall"]
        one["speed_up"] = {"batch": ours["queries_per_second"] / exact["queries_per_second"]}
        if "single_median" in exact:
            one["speed_up"]["single"] = exact["single_median"] / ours["single_median"]
        plain = "_plain" if f"{index}:ours_plain" in ways else ""
        one["overhead"] = _overhead(ways, f"{index}:ours{plain}", f"{index}:faiss{plain}")
        if plain and f"{index}:faiss" in ways:
            one["overhead_reranked"] = _overhead(ways, f"{index}:ours", f"{index}:faiss")
        if "flat:faiss" in ways:
            flat = ways["flat:faiss"]["queries_per_second"]
            one["speed_up"]["batch_of_faiss_flat"] = ours["queries_per_second"] / flat


def _overhead(ways: Mapping[str, Any], ours: str, theirs: str) -> dict[str, float]:
    """Return by how much ours is slower, as a share of theirs; negative where it is faster."""
    mine, other = ways[ours], ways[theirs]
    return {
        "single": mine["single_median"] / other["single_median"] - 1,
        "batch": other["queries_per_second"] / mine["queries_per_second"] - 1,
    }


def _here(step: str, job: str) -> dict[str, Any]:
    from benchmarks.gallery_weigh import weigh
    from benchmarks.gallery_worker import STEPS

    result: dict[str, Any] = {**STEPS, "weigh": weigh}[step](json.loads(job))
    return result


class _Steps:
    """Runs steps in processes of their own; those of building are kept and not done again."""

    KEPT = ("vectors", "parts", "truth", "build")

    def __init__(self, bench: GalleryBench) -> None:
        self.threads, self.folder = bench.threads, bench.work.expanduser() / "steps"
        self.processes = bench.processes
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "bench.json"
        fixed = {k: getattr(bench, k) for k in ("vectors", "width", "queries", "k", "seed", "part")}
        if note.is_file() and read_json(note) != fixed:
            raise UsageError(f"{bench.work} holds another bench; remove it or give another folder")
        if not note.is_file() and any(p != self.folder for p in self.folder.parent.iterdir()):
            raise UsageError(f"--work {bench.work} is not empty; give another folder")
        write_json(note, fixed)

    def run(self, step: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a step found, from before if it was done."""
        text = json.dumps({"step": step, **job})
        kept = self.folder / f"{step}-{config_hash(text)}.json"
        if step in self.KEPT and kept.is_file():
            return dict(read_json(kept))
        found = self._process(step, text) if self.processes else _here(step, text)
        if step in self.KEPT:
            write_json(kept, found)
        return found

    def _process(self, step: str, job: str) -> dict[str, Any]:
        threads = str(self.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        alone = step == "weigh"
        answer = subprocess.run(  # bars of a step go to this process's standard error
            [sys.executable, "-m", f"benchmarks.gallery_{step if alone else 'worker'}", job],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(names, threads)},
        )
        if answer.returncode == -signal.SIGKILL:
            raise MindEyeError(f"bench gallery, step {step}: killed, probably out of memory")
        lines = answer.stdout.strip().splitlines()
        if answer.returncode != 0 or not lines:
            raise MindEyeError(f"bench gallery, step {step}, failed; see the message above")
        found: dict[str, Any] = json.loads(lines[-1])
        if "error" in found:
            raise MindEyeError(f"bench gallery, step {step}: {found['error']}")
        return found


def main(*, json: Path, bench: GalleryBench) -> str:
    """Build a gallery of synthetic vectors, clustered like embeddings, and search it.

    Exact search, indices of faiss by ours and by faiss itself, in turns; recall, latency, build
    time, disk and peak memory. A benchmark that was cut off goes on.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.gallery --work DIR --json 1e6.json --vectors 1000000
    """
    return reported(bench_gallery(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
