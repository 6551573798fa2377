"""Every example runs as it stands: scripts of `examples/`, and those in docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import runpy
from pathlib import Path

import matplotlib
import pytest

import mindeye

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))
REGISTRIES = ("AUTOENCODERS", "DECODERS", "ENCODERS", "GENERATORS", "METRICS")


def _with_examples() -> list[str]:
    """Names of the modules that have an example in a docstring, found without importing them."""
    folder = Path(mindeye.__file__).parent
    names = [m.name for m in pkgutil.walk_packages([str(folder)], "mindeye.") if not m.ispkg]
    paths = {n: folder.joinpath(*n.split(".")[1:]).with_suffix(".py") for n in names}
    return sorted(n for n, path in paths.items() if ">>> " in path.read_text(encoding="utf-8"))


@pytest.fixture
def registries_restored() -> object:
    """Examples add entries of their own."""
    kept = {name: dict(getattr(mindeye, name)) for name in REGISTRIES}
    yield
    for name, entries in kept.items():
        registry = getattr(mindeye, name)
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_example_runs(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries_restored: object
) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")


def test_there_are_six_examples_and_all_public_estimators_have_one_in_their_docstring() -> None:
    assert len(SCRIPTS) >= 6
    for name in ("BrainDecoder", "LowLevelDecoder", "RidgeDecoder", "NeighbourDecoder",
                 "Reconstructor", "Gallery", "retrieve", "evaluate", "compare"):  # fmt: skip
        assert ">>> " in (getattr(mindeye, name).__doc__ or ""), name


@pytest.mark.parametrize("name", _with_examples())
def test_examples_of_docstrings_give_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(
        importlib.import_module(name),
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert found.failed == 0
    assert found.attempted > 0
