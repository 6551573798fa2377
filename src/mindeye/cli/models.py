"""The command line's verb that fetches models of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.config.settings import add_fields, from_flags

NewParser = Callable[..., ArgumentParser]


def add_fetch_models(what: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add ``models`` to the subcommands of ``fetch``."""
    models = new(
        "Download the models that a preset names, at the revisions of docs/reference/models.md: "
        "sizes and licences first, then the files, checked and resumed. Weights that exist as "
        "pickles alone come only with --allow-pickles and are rewritten as safetensors."
    )
    models.add_argument(
        "names", nargs="+", metavar="PRESET_OR_ID",
        help="presets, .yaml files, or hub ids such as openai/clip-vit-large-patch14",
    )  # fmt: skip
    if "fetch" in asked:
        from mindeye.weights.fetch import FetchModelsConfig

        add_fields(models, FetchModelsConfig)
    what.add_subcommand("models", models, help="encoders, autoencoders and generators")


def fetch_models_command(flags: Namespace, tell: Callable[[str], None]) -> None:
    """Carry ``fetch models`` out; `tell` gets its lines as they come."""
    from mindeye.weights.fetch import FetchModelsConfig, fetch_models

    chosen = flags["models"]
    fetch_models(chosen["names"], from_flags(FetchModelsConfig, chosen), tell=tell)
