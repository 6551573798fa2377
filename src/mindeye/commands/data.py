"""Verbs that get data and bring it into the form of a prepared subject."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindeye.commands.folders import need_subject
from mindeye.data.simulation import SimulateConfig
from mindeye.errors import UsageError
from mindeye.preparation.config import PrepareConfig

if TYPE_CHECKING:
    from mindeye.data.subject import Subject
    from mindeye.datasets.nsd.fetch_list import FetchConfig
    from mindeye.datasets.nsd.miniature import MiniatureConfig
    from mindeye.datasets.registry import Dataset
    from mindeye.datasets.shards_export import ExportConfig

EXAMPLES = {
    "arrays": "--betas betas.npy --stimuli images/ --trials trials.csv --out subj01",
    "nsd": "--root NSD --subject 1 --out subj01",
    "nsd-synthetic": "--root NSD --subject 1 --voxels-of subj01 --test every --out synthetic01",
    "nsd-imagery": "--root NSD --subject 1 --voxels-of subj01 --test every --out imagery01",
    "shards": "--root webdataset_avg_split --subject subj01 --out subj01",
    "mindeye2": "--root mindeye2 --subject subj01 --out subj01",
    "glmsingle": "--bids-root BIDS --subject 01 --betas GLM --mask mask.nii.gz --out subj01",
    "bdata": "--files sub-01.h5 --pictures images --roi V1 --out subj01",
}
"""What follows ``mindeye prepare SOURCE`` in the example of a source."""


def prepare(source: str = "") -> None:
    """Bring data into the form of a prepared subject.

    Splits are made by stimulus, scaling is fitted on training trials, and guards look for leaks and
    shuffled pairings. A second call goes on where the first one stopped.

    Parameters
    ----------
    source
        Kind of data, one of the list below.
    """
    raise UsageError("prepare needs a source" if not source else f"no source {source!r}")


def prepare_verbs() -> dict[str, Callable[..., Any]]:
    """Return one verb for every source of `mindeye.DATASETS`, and those that make a source."""
    from mindeye.datasets.registry import DATASETS

    sources = {f"prepare {name}": _source_verb(name, source) for name, source in DATASETS.items()}
    return {**sources, "prepare simulate": simulate, "prepare nsd-miniature": miniature}


def _source_verb(name: str, source: Dataset) -> Callable[..., None]:
    """Return the verb of one source; its flags are the fields of the source's configuration."""

    def verb(*, out: Path, config: Any, choices: PrepareConfig, root: Path | None = None) -> None:
        recording = source.open(config, root)
        from mindeye.preparation.prepare import prepare as prepare_recording

        _print_subject(prepare_recording(recording, out, choices))

    kinds = {"out": Path, "config": source.config, "choices": PrepareConfig}
    kinds = {"root": Path, **kinds} if source.root else kinds
    kind = inspect.Parameter.KEYWORD_ONLY
    verb.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, kind, annotation=k) for n, k in kinds.items()]
    )
    example = f"\n\n    Examples\n    --------\n    $ mindeye prepare {name} {EXAMPLES.get(name)}\n"
    verb.__doc__ = f"""Prepare {source.help}.

    Parameters
    ----------
    root
        {source.root}.
    out
        Folder to write.{example if name in EXAMPLES else ""}
    """
    return verb


def simulate(*, out: Path, seed: int = 0, config: SimulateConfig | None = None) -> None:
    """Simulate a subject that looks at procedural scenes, with known truth.

    Parameters
    ----------
    out
        Folder to write.
    seed
        Seed of everything; the same seed gives the same files.
    config
        What is simulated.

    Examples
    --------
    $ mindeye prepare simulate --train 1500 --test 300 --out sim01
    """
    from mindeye.data.simulate import simulate_subject

    _print_subject(simulate_subject(config or SimulateConfig(), seed, out))


def miniature(*, out: Path, config: MiniatureConfig, seed: int = 0) -> None:
    """Write a miniature of the Natural Scenes Dataset, made of simulated subjects.

    It has the folders, files, types and axes of the real one, and is small enough to try
    ``mindeye prepare nsd`` on.

    Parameters
    ----------
    out
        Folder to write.
    config
        How small it is.
    seed
        Seed of everything; the same seed gives the same files.

    Examples
    --------
    $ mindeye prepare nsd-miniature --out NSD
    """
    from mindeye.datasets.nsd.miniature import write_miniature

    write_miniature(out, config, seed)
    print(f"{out} is ready: mindeye prepare nsd --root {out} --out DIR")


def _print_subject(subject: Subject) -> None:
    from mindeye.commands.inspecting import facts_text
    from mindeye.data.subject_checks import describe

    print(facts_text(describe(subject)))
    if (subject.path / "preview.png").exists():
        print(f"look at {subject.path / 'preview.png'}")


def fetch_nsd(*, config: FetchConfig) -> None:
    """Download what `mindeye prepare nsd` needs of the Natural Scenes Dataset.

    Lists files and sizes first; needs your word that you accepted NSD's terms.

    Parameters
    ----------
    config
        What to download, and where to.

    Examples
    --------
    $ mindeye fetch nsd --subject 1 --sessions 1-40 --root NSD --dry-run
    $ mindeye fetch nsd --subject 1 --sessions 1-40 --root NSD --i-accept-the-nsd-terms
    """
    from mindeye.datasets.nsd.fetch import fetch_nsd as fetch

    fetch(config, tell=print)


def export_shards(folder: Path, *, out: Path, config: ExportConfig) -> None:
    """Write a prepared subject as webdataset shards in MindEye 1's layout.

    Parameters
    ----------
    folder
        Folder of a prepared subject.
    out
        Folder to write.
    config
        How the shards are written.

    Examples
    --------
    $ mindeye export-shards subj01 --out shards
    """
    need_subject(folder)
    from mindeye.data.subject import load_subject
    from mindeye.datasets.shards_export import export_shards as export

    export(load_subject(folder), out, config)
    print(f"{out} is ready")
