"""Preparing NSD at real size: time and memory, and how fast betas of a region can be read at all.

Every reading and every preparation runs in a process of its own, so that its peak memory is its
own; the ways of reading take turns. The files are in the page cache: what is timed is the work, not
the disk.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.command import reported, run_benchmark
from benchmarks.prepare_files import TreeConfig, make_tree
from benchmarks.prepare_worker import FLOOR, OURS, READERS
from benchmarks.timing import machine
from mindeye.config.fingerprints import config_dict
from mindeye.datasets.nsd.design import MOST_REPEATS
from mindeye.datasets.nsd.layout import NsdConfig, NsdPaths
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.errors import MindEyeError
from mindeye.files import provenance
from mindeye.progress import track

WANTED_RATIO = 2.0
"""Seconds of ours over those of the fastest way, at most, that are asked for."""
WANTED_GIB = 3.0
"""Peak memory of a preparation of 40 sessions, at most, that is asked for."""
FULL_SESSIONS, FULL_PICTURES = 40, 10_000
"""Of a subject that came to all sessions."""
WAYS = {
    OURS: "ours: checked, (trials, voxels), float32",
    "voxel by voxel": "h5py, one voxel after the other",
    "box": "h5py, the box around the region by layers",
    "chunks": "each voxel's chunk as bytes, unchecked int16",
    "offsets, pread": "where all chunks begin, then plain reads",
    "offsets, map": "the same through a memory map",
    "whole file": "the same out of the whole file in memory",
    FLOOR: "plain reads, where chunks begin known before",
}
BY_PICTURES = ("pictures", "leaks")
"""Steps whose time goes with the pictures; that of all others goes with the sessions."""


@dataclass(frozen=True)
class PrepareBench:
    """What to measure.

    Parameters
    ----------
    work
        Folder for the files, kept: 4.5 GB by default, and as much again while it is measured.
    tree
        Sizes of the data.
    forty
        Also 40 sessions, every picture three times, on a grid hardly larger than the region.
    repetitions
        Of every way of reading, in turns, and of the preparation.
    """

    work: Path
    tree: TreeConfig = field(default_factory=TreeConfig)
    forty: bool = False
    repetitions: int = 5


def bench_prepare(bench: PrepareBench) -> dict[str, Any]:
    """Measure reading and preparing.

    Returns
    -------
    dict
        Settings, machine; `reading`: by way seconds (median and all repetitions), peak memory
        and, of ours, the ratio to the fastest; `preparing` and, if asked for, `forty`: seconds by
        step, peak memory, what the guards said; `extrapolated`: seconds of 40 sessions.

    Raises
    ------
    MindEyeError
        If a process fails, or two ways of reading differ in any number.
    """
    facts = machine()
    root = bench.work / "nsd"
    make_tree(root, bench.tree)
    reading = _read_all(bench, root)
    runs = [_prepare(root, bench.work) for _ in track(range(bench.repetitions), "preparing")]
    preparing = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    preparing = {**preparing, "repetitions": [run["seconds"] for run in runs]}
    content = {
        "bench": "prepare",
        **provenance(),
        "machine": facts,
        "settings": config_dict(bench.tree) | {"repetitions": bench.repetitions},
        "wanted": {"ratio": WANTED_RATIO, "peak_gib": WANTED_GIB},
        "reading": reading,
        "preparing": preparing,
        "extrapolated": extrapolate(preparing, bench.tree),
    }
    if bench.forty:
        tree = forty(bench)
        make_tree(bench.work / "forty", tree)
        found = _prepare(bench.work / "forty", bench.work)
        content["forty"] = {"settings": config_dict(tree), **found}
    return content


def forty(bench: PrepareBench) -> TreeConfig:
    """Return a subject of 40 sessions with the same voxels; grids do not enter memory."""
    side = math.ceil((1.05 * bench.tree.voxels) ** (1 / 3))
    return replace(
        bench.tree,
        sessions=FULL_SESSIONS,
        pictures=max(-(-FULL_SESSIONS * bench.tree.trials // MOST_REPEATS), 10),
        grid=(side, side + 1, side + 2),
    )


def _read_all(bench: PrepareBench, root: Path) -> dict[str, Any]:
    places = bench.work / "places.npy"
    voxels = read_nsd(root, NsdConfig()).voxels
    np.save(places, voxels[["x", "y", "z"]].to_numpy(dtype=np.int64))
    path = NsdPaths(root, 1).session(1, "hdf5")
    _touch(path)
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in (*READERS, FLOOR)}
    for _ in track(range(bench.repetitions), "reading"):
        for way, found in answers.items():
            found.append(_ask({"way": way, "path": str(path), "places": str(places)}))
    if len({a["checksum"] for found in answers.values() for a in found}) > 1:
        raise MindEyeError("two ways of reading the same voxels gave different numbers")
    ways: dict[str, dict[str, Any]] = {
        way: {
            "what": WAYS[way],
            "seconds": median(a["seconds"] for a in found),
            "repetitions": [a["seconds"] for a in found],
            "peak_mib": max(a["peak_mib"] for a in found),
            "before_mib": median(a["before_mib"] for a in found),
        }
        for way, found in answers.items()
    }
    others = {way: ways[way]["seconds"] for way in READERS if way != OURS}
    fastest = min(others, key=lambda way: others[way])
    return {
        "file_megabytes": path.stat().st_size / 1e6,
        "ways": ways,
        "fastest": fastest,
        "ratio": ways[OURS]["seconds"] / others[fastest],
        "ratio_to_floor": ways[OURS]["seconds"] / ways[FLOOR]["seconds"],
    }


def _touch(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _prepare(root: Path, work: Path) -> dict[str, Any]:
    """Prepare once, from a tree in the page cache as far as it fits, and remove the result."""
    for path in sorted(root.rglob("*.hdf5")):
        _touch(path)
    out = work / "prepared"
    for folder in (out, out.with_name(f"{out.name}.preparing")):
        shutil.rmtree(folder, ignore_errors=True)
    found = _ask({"root": str(root), "out": str(out)})
    found["prepared_megabytes"] = sum(p.stat().st_size for p in out.rglob("*.*")) / 1e6
    shutil.rmtree(out)
    return found


def _ask(job: dict[str, Any]) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare_worker", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise MindEyeError(f"bench job {job.get('way', 'prepare')} failed: {lines[-1]}")
    found: dict[str, Any] = json.loads(answer.stdout.strip().splitlines()[-1])
    return found


def extrapolate(preparing: dict[str, Any], tree: TreeConfig) -> dict[str, Any]:
    """Return seconds of 40 sessions and 10,000 pictures, linear in both."""
    sessions = FULL_SESSIONS / tree.sessions
    pictures = FULL_PICTURES / preparing["stimuli"]
    steps = {
        name: seconds * (pictures if name in BY_PICTURES else sessions)
        for name, seconds in preparing["steps"].items()
    }
    return {
        "how": "linear in sessions and pictures",
        "seconds": sum(steps.values()),
        "steps": steps,
    }


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    reading, settings = content["reading"], content["settings"]
    x, y, z = settings["grid"]
    lines = [
        f"a session of {settings['trials']} trials, {x} x {y} x {z}, "
        f"{reading['file_megabytes']:.0f} MB; {settings['voxels']} voxels of it; page cache warm, "
        f"median of {settings['repetitions']} in turns, each in a process of its own; load before: "
        f"{content['machine']['load']}",
        f"{'reading':<16}{'s':>8}{'peak MiB':>10}{'before':>8}   what",
    ]
    for name, way in reading["ways"].items():
        lines.append(
            f"{name:<16}{way['seconds']:>8.3f}{way['peak_mib']:>10.0f}{way['before_mib']:>8.0f}"
            f"   {way['what']}"
        )
    lines += [
        f"ours / fastest ({reading['fastest']}): {reading['ratio']:.2f}, asked for: at most "
        f"{content['wanted']['ratio']:.0f}; ours / offsets given: {reading['ratio_to_floor']:.2f}",
        "",
        *_preparing_lines(f"{settings['sessions']} sessions", settings, content["preparing"]),
    ]
    extrapolated = content["extrapolated"]
    lines.append(
        f"extrapolated to {FULL_SESSIONS} sessions and {FULL_PICTURES} pictures, "
        f"{extrapolated['how']}: {extrapolated['seconds']:.0f} s"
    )
    if "forty" in content:
        found = content["forty"]
        title = f"{found['settings']['sessions']} sessions"
        lines += ["", *_preparing_lines(title, found["settings"], found)]
        lines.append(f"asked for: at most {content['wanted']['peak_gib']:.0f} GiB")
    return "\n".join(lines)


def _preparing_lines(title: str, settings: dict[str, Any], found: dict[str, Any]) -> list[str]:
    x, y, z = settings["grid"]
    lines = [
        f"{title}, {x} x {y} x {z}: {found['trials']} trials x {found['voxels']} voxels, "
        f"{found['stimuli']} pictures of {settings['size']} x {settings['size']}: "
        f"{found['seconds']:.1f} s, peak {found['peak_mib'] / 1024:.2f} GiB (pages of mapped files "
        f"counted), {found['prepared_megabytes']:.0f} MB prepared",
        f"{'step':<16}{'s':>8}{'peak MiB':>10}",
    ]
    for name, seconds in found["steps"].items():
        peak = found["peak_by_step_mib"].get(name)
        lines.append(f"{name:<16}{seconds:>8.2f}{'-' if peak is None else f'{peak:.0f}':>10}")
    lines += [f"  {name}: {verdict}" for name, verdict in found["guards"].items()]
    return lines


def main(*, json: Path, bench: PrepareBench) -> str:
    """Prepare a synthetic NSD tree of real size: time and peak memory.

    The reading of a region's betas stands beside every other way of reading them.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.prepare --work WORK --json prepare.json
    """
    return reported(bench_prepare(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
