"""Verbs for models and embeddings as files: fetch, import, export, generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mindeye.commands.folders import need_path, need_run
from mindeye.config.generate import GenerateConfig
from mindeye.config.settings import run_config

if TYPE_CHECKING:
    from mindeye.weights.fetch import FetchModelsConfig
    from mindeye.weights.metric_networks import FetchMetricsConfig


def fetch_models(names: tuple[str, ...], *, config: FetchModelsConfig) -> None:
    """Download the models that a preset names: encoders, autoencoders, generators.

    Sizes and licences come first, then the files, checked and resumed. Weights that exist as
    pickles alone come only with --allow-pickles and are rewritten as safetensors.

    Parameters
    ----------
    names
        Presets, .yaml files, or hub ids such as openai/clip-vit-large-patch14.
    config
        Where to, and how.

    Examples
    --------
    $ mindeye fetch models mindeye1 --root weights --dry-run
    $ mindeye fetch models mindeye1 --root weights --allow-pickles
    """
    from mindeye.weights.fetch import fetch_models as fetch

    fetch(names, config, tell=print)


def fetch_metrics(*, config: FetchMetricsConfig) -> None:
    """Download the networks that metrics look through (2.2 GB).

    AlexNet, Inception, EfficientNet, SwAV and CLIP: sizes and licences first, then the files,
    checked by hash and resumed.

    Parameters
    ----------
    config
        What to download, and where to.

    Examples
    --------
    $ mindeye fetch metrics --out networks --dry-run
    """
    from mindeye.weights.metric_networks import fetch_metrics as fetch

    fetch(config, tell=print)


def import_checkpoint(file: Path, *, out: Path) -> None:
    """Read a checkpoint of the paper's authors without running code in it.

    Every name, shape and value is checked, and the weights are written as a folder.

    Parameters
    ----------
    file
        Their .pth file.
    out
        Folder to write.

    Examples
    --------
    $ mindeye import-checkpoint last.pth --out weights/subj01
    """
    need_path(file, "import-checkpoint")
    from mindeye.commands.inspecting import facts_text
    from mindeye.published.imported import import_checkpoint as read

    print(facts_text({**read(file, out), "folder": out}))


def export_embeddings(folder: Path, *, out: Path, candidates: int = 0, stimuli: int = 0) -> None:
    """Write a run's predicted embeddings of the test stimuli, for other generators.

    Arrays are .npy, a .parquet table names their rows, embeddings.json says what they are. A
    second call goes on where the first one stopped.

    Parameters
    ----------
    folder
        Folder of a run.
    out
        Folder to write.
    candidates
        Prior samples a stimulus; 0 for as many as the run draws pictures of.
    stimuli
        Number of test stimuli, the first ones; 0 for all of them.

    Examples
    --------
    $ mindeye export-embeddings runs/subj01 --out embeddings
    """
    need_run(folder)
    from mindeye.commands.exporting import ExportEmbeddingsConfig
    from mindeye.commands.exporting import export_embeddings as export
    from mindeye.runs import open_run

    config = ExportEmbeddingsConfig(candidates, stimuli)
    content = export(open_run(folder, run_config), out, config)
    encoder = content["encoder"]
    print(
        f"{out} is ready: {content['stimuli']} stimuli x {content['candidates']} candidates, "
        f"{encoder['tokens']} x {encoder['width']} of {encoder['id']}; data: "
        f"{content['data']['licence']}"
    )


def generate(embeddings: Path, *, out: Path, config: GenerateConfig | None = None) -> None:
    """Draw pictures of any embeddings.

    Embeddings are .npy (N, K, D) or (N, D), .parquet with a column of lists, or a folder of
    `mindeye export-embeddings`. Pictures that are there are kept.

    Parameters
    ----------
    embeddings
        File or folder of embeddings.
    out
        Folder to write.
    config
        What is drawn, and how.

    Examples
    --------
    $ mindeye generate embeddings --out pictures
    $ mindeye generate brain.npy --generator zoo --steps 20 --out pictures
    """
    need_path(embeddings, "embeddings")
    from mindeye.commands.generating import SHEET
    from mindeye.commands.generating import generate as draw

    content = draw(embeddings, out, config or GenerateConfig())
    print(f"{content['pictures']} pictures in {out}, the first on {out / SHEET}")
