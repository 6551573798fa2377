"""The command line's verbs that get data and bring it into the form of a prepared subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.cli.models import add_fetch_models, fetch_models_command
from mindeye.config.settings import add_fields, from_flags
from mindeye.data.simulation import SimulateConfig
from mindeye.preparation.config import PrepareConfig

NewParser = Callable[..., ArgumentParser]


def add_prepare(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``prepare``; only the source that is asked for gets flags."""
    prepare = new(
        "Bring data into the form of a prepared subject: splits by stimulus, scaling fitted on "
        "training trials, guards against leaks and shuffled pairings. A second call goes on where "
        "the first one stopped. docs/how-to/data.md has the files and terms of every source."
    )
    verbs.add_subcommand("prepare", prepare, help="bring data into the form of a subject")
    sources = prepare.add_subcommands(dest="source", metavar="SOURCE")
    if "prepare" not in asked:
        return
    from mindeye.datasets.registry import DATASETS

    for name, source in DATASETS.items():
        sub = new(f"Prepare {source.help}.")
        if name in asked:
            if source.root:
                sub.add_argument("--root", type=Path, required=True, help=source.root)
            sub.add_argument("--out", type=Path, required=True, help="folder to write")
            add_fields(sub, source.config)
            add_fields(sub, PrepareConfig)
        sources.add_subcommand(name, sub, help=source.help)
    simulate = new("Simulate a subject that looks at procedural scenes, with known truth.")
    simulate.add_argument("--seed", type=int, default=0, help="same seed, same files")
    simulate.add_argument("--out", type=Path, required=True, help="folder to write")
    add_fields(simulate, SimulateConfig)
    sources.add_subcommand("simulate", simulate, help="a subject with known truth")
    _add_miniature(sources, new, asked)


def _add_miniature(sources: Any, new: NewParser, asked: Sequence[str]) -> None:
    small = new(
        "Write a miniature of the Natural Scenes Dataset, made of simulated subjects: the same "
        "folders, files, types and axes, small enough to try `prepare nsd` on."
    )
    small.add_argument("--out", type=Path, required=True, help="folder to write")
    small.add_argument("--seed", type=int, default=0, help="same seed, same files")
    if "nsd-miniature" in asked:
        from mindeye.datasets.nsd.miniature import MiniatureConfig

        add_fields(small, MiniatureConfig)
    sources.add_subcommand("nsd-miniature", small, help="a small made-up NSD to try things on")


def prepare(flags: Namespace) -> str:
    """Return the text that ``prepare`` prints."""
    from mindeye.data.subject_checks import describe

    chosen = flags[flags.source]
    if flags.source == "nsd-miniature":
        from mindeye.datasets.nsd.miniature import MiniatureConfig, write_miniature

        write_miniature(chosen.out, from_flags(MiniatureConfig, chosen), chosen.seed)
        return f"{chosen.out} is ready: mindeye prepare nsd --root {chosen.out} --out DIR"
    if flags.source == "simulate":
        from mindeye.data.simulate import simulate_subject

        subject = simulate_subject(from_flags(SimulateConfig, chosen), chosen.seed, chosen.out)
    else:
        from mindeye.datasets.registry import DATASETS
        from mindeye.preparation.prepare import prepare as prepare_recording

        source = DATASETS[flags.source]
        config = from_flags(source.config, chosen)
        recording = source.open(config, chosen.get("root"))
        subject = prepare_recording(recording, chosen.out, from_flags(PrepareConfig, chosen))
    told = facts_text(describe(subject))
    preview = subject.path / "preview.png"
    return f"{told}\nlook at {preview}" if preview.exists() else told


def facts_text(facts: dict[str, Any]) -> str:
    """Return names and values, one a line, values in one column."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def add_fetch(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``fetch``: data sets and models."""
    fetch = new(
        "Download public data and models: what, how much, then the files, checked and resumed."
    )
    verbs.add_subcommand("fetch", fetch, help="download public data sets and models")
    what = fetch.add_subcommands(dest="what", metavar="WHAT")
    nsd = new(
        "Download what `mindeye prepare nsd` needs of the Natural Scenes Dataset. Lists files and "
        "sizes first; needs your word that you accepted NSD's terms."
    )
    if "fetch" in asked:
        from mindeye.fetching.config import FetchConfig

        add_fields(nsd, FetchConfig)
    what.add_subcommand("nsd", nsd, help="the Natural Scenes Dataset")
    add_fetch_models(what, new, asked=asked)
    metrics = new(
        "Download the networks that metrics look through (AlexNet, Inception, EfficientNet, SwAV, "
        "CLIP: 2.2 GB): sizes and licences first, then the files, checked by hash and resumed."
    )
    if "fetch" in asked:
        from mindeye.fetching.metrics import FetchMetricsConfig

        add_fields(metrics, FetchMetricsConfig)
    what.add_subcommand("metrics", metrics, help="networks of the feature metrics")


def fetch(flags: Namespace, tell: Callable[[str], None]) -> None:
    """Carry ``fetch`` out; `tell` gets its lines as they come, for the list precedes the files."""
    if flags.what == "models":
        fetch_models_command(flags, tell)
        return
    if flags.what == "metrics":
        from mindeye.fetching.metrics import FetchMetricsConfig, fetch_metrics

        fetch_metrics(from_flags(FetchMetricsConfig, flags["metrics"]), tell=tell)
        return
    from mindeye.fetching.config import FetchConfig
    from mindeye.fetching.fetch import fetch_nsd

    fetch_nsd(from_flags(FetchConfig, flags[flags.what]), tell=tell)


def add_export(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``export-shards``."""
    export = new("Write a prepared subject as webdataset shards in MindEye 1's layout.")
    export.add_argument("folder", type=Path, help="a prepared subject")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    if "export-shards" in asked:
        from mindeye.datasets.shards_export import ExportConfig

        add_fields(export, ExportConfig)
    verbs.add_subcommand("export-shards", export, help="a prepared subject as published shards")


def export(flags: Namespace) -> str:
    """Return the text that ``export-shards`` prints."""
    from mindeye.data.subject import load_subject
    from mindeye.datasets.shards_export import ExportConfig, export_shards

    export_shards(load_subject(flags.folder), flags.out, from_flags(ExportConfig, flags))
    return f"{flags.out} is ready"
