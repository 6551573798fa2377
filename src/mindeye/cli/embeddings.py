"""The command line's verbs that write embeddings for others and draw anybody's embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.config.settings import add_fields, from_flags, run_config

NewParser = Callable[..., ArgumentParser]


def add_export_embeddings(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``export-embeddings``; its flags, only if it is asked for (they need torch)."""
    export = new(
        "Write a run's predicted embeddings of the test stimuli for other generators: .npy arrays, "
        "a .parquet table of their rows, and embeddings.json. A second call goes on where the "
        "first one stopped."
    )
    export.add_argument("folder", type=Path, help="folder of a run")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    if "export-embeddings" in asked:
        from mindeye.commands.exporting import ExportEmbeddingsConfig

        add_fields(export, ExportEmbeddingsConfig)
    verbs.add_subcommand("export-embeddings", export, help="predicted embeddings as files")


def add_generate(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``generate``; its flags, only if it is asked for."""
    generate = new(
        "Draw pictures of any embeddings: .npy (N, K, D) or (N, D), .parquet with a column of "
        "lists, or a folder of `mindeye export-embeddings`. Pictures that are there are kept."
    )
    generate.add_argument("embeddings", type=Path, help="file or folder of embeddings")
    generate.add_argument("--out", type=Path, required=True, help="folder to write")
    if "generate" in asked:
        from mindeye.config.generate import GenerateConfig

        add_fields(generate, GenerateConfig)
    verbs.add_subcommand("generate", generate, help="pictures of any embeddings")


def export_embeddings(flags: Namespace) -> str:
    """Return the text that ``export-embeddings`` prints."""
    from mindeye.commands.exporting import ExportEmbeddingsConfig
    from mindeye.commands.exporting import export_embeddings as export
    from mindeye.runs import open_run

    content = export(
        open_run(flags.folder, run_config), flags.out, from_flags(ExportEmbeddingsConfig, flags)
    )
    encoder = content["encoder"]
    return (
        f"{flags.out} is ready: {content['stimuli']} stimuli x {content['candidates']} candidates, "
        f"{encoder['tokens']} x {encoder['width']} of {encoder['id']}; data: "
        f"{content['data']['licence']}"
    )


def generate(flags: Namespace) -> str:
    """Return the text that ``generate`` prints."""
    from mindeye.commands.generating import SHEET
    from mindeye.commands.generating import generate as draw
    from mindeye.config.generate import GenerateConfig

    content = draw(flags.embeddings, flags.out, from_flags(GenerateConfig, flags))
    return f"{content['pictures']} pictures in {flags.out}, the first on {flags.out / SHEET}"
