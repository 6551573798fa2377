"""Verb that says what is installed, what is missing, and what to type. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from mindeye.weights.find import folders_of, hub_cache
from mindeye.weights.table import MODELS

ESSENTIAL = ("torch", "torchvision", "transformers", "diffusers", "numpy", "pandas", "himalaya")
DEVICES = (
    "import torch; print(torch.cuda.device_count() and ', '.join(torch.cuda.get_device_name(i) + "
    "f' ({torch.cuda.get_device_properties(i).total_memory / 1e9:.0f} GB)' for i in "
    "range(torch.cuda.device_count())) or 'no CUDA device'); print(torch.get_num_threads())"
)
"""Asked of another process, which may die of a broken installation."""


def doctor(*, weights: str = "") -> None:
    """Report versions, devices, extras and models, and what to type where something is missing.

    Works where nothing else does: torch is tried in a process of its own.

    Parameters
    ----------
    weights
        Folder of fetched models; else MINDEYE_WEIGHTS, else the Hugging Face cache.

    Examples
    --------
    $ mindeye doctor
    """
    from mindeye import __version__

    print(f"mindeye {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{os.cpu_count()} cores, {shutil.disk_usage('.').free / 1e9:.0f} GB free here")
    for line in [*_versions(), *_devices(), *_extras(), *_models(weights)]:
        print(line)


def installed(package: str) -> str:
    """Return the version of a package, empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _versions() -> list[str]:
    found = {name: installed(name) for name in ESSENTIAL}
    return [
        f"{name:<20}{number or 'missing: pip install -e . -c constraints.txt'}"
        for name, number in found.items()
    ]


def _devices() -> list[str]:
    asked = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True)
    if asked.returncode:
        error = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        return [
            f"torch does not import: {error}",
            "  reinstall it: pip install --force-reinstall torch",
        ]
    devices, threads = asked.stdout.strip().splitlines()[-2:]
    return [f"{'devices':<20}{devices}; torch takes {threads} threads of the CPU"]


def extras() -> dict[str, list[str]]:
    """Return the packages of every extra that a user installs, by the extra's name."""
    found: dict[str, list[str]] = {}
    for line in requires("mindeye") or []:
        match = re.match(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if match and match[2] not in ("test", "dev"):
            found.setdefault(match[2], []).append(match[1])
    return found


def _extras() -> list[str]:
    try:
        named = extras()
    except PackageNotFoundError:
        return ["extras: mindeye is not installed; pip install -e . -c constraints.txt"]
    lines = []
    for name, packages in named.items():
        missing = [package for package in packages if not installed(package)]
        state = (
            f"missing {', '.join(missing)}: pip install 'mindeye[{name}]'" if missing else "present"
        )
        lines.append(f"extra {name:<14}{state}")
    return lines


def _models(weights: str) -> list[str]:
    given = weights or os.environ.get("MINDEYE_WEIGHTS", "")
    root = Path(given).expanduser() if given else hub_cache()
    found = {i: any(f.is_dir() for f in folders_of(model, root)) for i, model in MODELS.items()}
    lines = [f"models in {root}{'' if root.is_dir() else ' (not there)'}:"]
    lines += [f"  {identity}: found" for identity, there in found.items() if there]
    missing = [identity for identity, there in found.items() if not there]
    if missing:
        lines.append(f"  missing {len(missing)}, such as {missing[0]}")
        lines.append("  `mindeye fetch models PRESET --root DIR` fetches those of a preset")
    return lines
