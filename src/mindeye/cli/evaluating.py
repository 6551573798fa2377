"""The command line's verb that scores: a stage of a run, or anybody's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.errors import UsageError
from mindeye.external.config import ALPHAS, RANGES, ExternalConfig, named_paths

NewParser = Callable[..., ArgumentParser]

PATHS = ("stimuli", "out", "training_pictures", "weights", "predicted", "target")
"""Flags of anybody's pictures that are paths."""


def add_evaluate(verbs: Any, new: NewParser, text: str) -> None:
    """Add the verb ``evaluate``; `text` says what it does as a stage of a run."""
    evaluate = new(
        f"One stage of an existing run, and what it needs: {text}. Or, without a run, score "
        "anybody's reconstructions: --reconstructions, --stimuli and --out. Pictures are a folder "
        "of images (paired by file name if names agree, else in natural order), .npy or .npz, the "
        "tensors that MindEye's authors pass around (.pt), or .safetensors; nothing in them is "
        "executed. What is converted is said; what could mean two things is refused."
    )
    evaluate.add_argument(
        "folder", type=Path | None, nargs="?", default=None, help="folder of a run"
    )
    _add_inputs(evaluate)
    _add_choices(evaluate)
    verbs.add_subcommand("evaluate", evaluate, help=f"{text}; or score anybody's pictures")


def _add_inputs(evaluate: ArgumentParser) -> None:
    evaluate.add_argument(
        "--reconstructions", type=str, nargs="+", default=[], metavar="[NAME=]PATH",
        help="pictures to score, one or several systems",
    )  # fmt: skip
    for flag, text in (
        ("--stimuli", "pictures seen, in the order of the reconstructions"),
        ("--out", "folder for metrics.json, metrics.csv, scores.csv and pictures.png"),
        ("--training-pictures", "scores what showing one of these instead would have scored"),
        ("--weights", "folder of the networks' weights, searched before the usual caches"),
        ("--predicted", "embeddings from the brain, .npy (S, D) or (S, K, D): scores retrieval"),
        ("--target", "embeddings of the pictures, in the same order and shape"),
    ):
        evaluate.add_argument(flag, type=Path | None, default=None, help=text)


def _add_choices(evaluate: ArgumentParser) -> None:
    defaults = {field: ExternalConfig.__dataclass_fields__[field].default for field in CHOICES}
    for field, (flag, kind, text) in CHOICES.items():
        evaluate.add_argument(flag, type=kind, default=defaults[field], help=text)
    evaluate.add_argument(
        "--as-published", action="store_true",
        help="bring pictures to 256 px first, as the authors' script does; add published names",
    )  # fmt: skip


CHOICES: dict[str, tuple[str, type, str]] = {
    "size": ("--size", int, "side in px of PixCorr and SSIM, 0 for the stimuli's own"),
    "range": ("--range", str, f"numbers in arrays of reconstructions: {', '.join(RANGES)}"),
    "stimuli_range": ("--stimuli-range", str, "the same of stimuli and training pictures"),
    "alpha": ("--alpha", str, f"what is behind transparent pictures: {', '.join(ALPHAS)}"),
    "resamples": ("--resamples", int, "bootstrap resamples over stimuli"),
    "seed": ("--seed", int, "of resamples and shuffles"),
    "k": ("--k", int, "candidates drawn per stimulus, of which one was picked"),
}
"""Field of `ExternalConfig` to flag, type and help."""


def whole_words(words: Sequence[str]) -> list[str]:
    """Join range flags with their values: ``-1..1`` alone would be taken for a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--range", "--stimuli-range"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def is_external(flags: Namespace) -> bool:
    """Tell whether anybody's pictures are meant, not a run.

    Raises
    ------
    UsageError
        If it is neither, or a mixture of both.
    """
    given = [name for name in PATHS if flags[name] is not None]
    if flags["folder"] is not None:
        if flags["reconstructions"] or given:
            flag = "reconstructions" if flags["reconstructions"] else given[0].replace("_", "-")
            raise UsageError(f"a run brings its own pictures; leave out the folder or --{flag}")
        return False
    if not flags["reconstructions"]:
        raise UsageError("evaluate needs the folder of a run, or --reconstructions and --stimuli")
    for name in ("stimuli", "out"):
        if flags[name] is None:
            raise UsageError(f"--reconstructions needs --{name}")
    return True


def evaluate_external(flags: Namespace, tell: Callable[[str], None]) -> None:
    """Score anybody's pictures; `tell` gets the lines as they come."""
    config = ExternalConfig(
        systems=named_paths(flags["reconstructions"]),
        **{name: flags[name] for name in PATHS},
        **{field: flags[_dest(flag)] for field, (flag, _, _) in CHOICES.items()},
        as_published=flags["as_published"],
    )
    from mindeye.external.score import SHEET, evaluate_pictures

    evaluate_pictures(config, tell=tell)
    tell(f"{flags['out'] / 'metrics.csv'} is ready; look at {flags['out'] / SHEET}")


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
