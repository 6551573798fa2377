"""Verbs that measure: scores of a run or of anybody's pictures, and tests between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mindeye.commands.training import stage
from mindeye.config.flags import FieldsOf, flag_of
from mindeye.errors import UsageError
from mindeye.external.config import ExternalConfig, named_paths


def evaluate(
    folder: Path | None = None,
    *,
    reconstructions: tuple[str, ...] = (),
    **given: Annotated[Any, FieldsOf(ExternalConfig, skip=("systems",))],
) -> None:
    """Score a run, or anybody's reconstructions.

    With the folder of a run it is a stage of the run: it writes metrics.json and metrics.csv.
    Without one, --reconstructions, --stimuli and --out name the pictures: a folder of images
    (paired by file name if names agree, else in natural order), .npy or .npz, the tensors that
    MindEye's authors pass around (.pt), or .safetensors; nothing in them is executed. What is
    converted is said; what could mean two things is refused.

    Parameters
    ----------
    folder
        Folder of a run.
    reconstructions
        Pictures to score, one or several systems, each as PATH or NAME=PATH.
    given
        Fields of `ExternalConfig`.

    Examples
    --------
    $ mindeye evaluate runs/subj01
    $ mindeye evaluate --reconstructions theirs.pt --stimuli seen/ --out scores
    $ mindeye evaluate --reconstructions ours=recons/ ridge=ridge.npy --stimuli seen.pt --out both
    """
    if folder is not None:
        if reconstructions or given:
            flag = "--reconstructions" if reconstructions else flag_of(next(iter(given)))
            raise UsageError(f"a run brings its own pictures; leave out the folder or {flag}")
        stage("evaluate")(folder)
        return
    if not reconstructions:
        raise UsageError("evaluate needs the folder of a run, or --reconstructions and --stimuli")
    for name in ("stimuli", "out"):
        if name not in given:
            raise UsageError(f"--reconstructions needs --{name}")
    config = ExternalConfig(systems=named_paths(reconstructions), **given)
    from mindeye.external.score import SHEET, evaluate_pictures

    evaluate_pictures(config, tell=print)
    print(f"{given['out'] / 'metrics.csv'} is ready; look at {given['out'] / SHEET}")


def compare(
    run_a: Path,
    run_b: Path,
    *,
    system: str = "",
    systems: str = "",
    out: Path | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> None:
    """Test two scored runs against each other, stimulus by stimulus.

    Prints difference, bootstrap interval, permutation p, and p adjusted for the number of tests.
    Folders are those of `mindeye run` or `mindeye evaluate`; two folders that hold one run a
    subject each, under the same names, are compared over subjects.

    Parameters
    ----------
    run_a
        Folder A.
    run_b
        Folder B; with --systems it may be A again.
    system
        Only this system of both.
    systems
        Systems under two names, A's before B's: both=high,mindeye=ridge.
    out
        Folder to write compare.json, compare.csv and compare.png to.
    level
        Level of the intervals, between 0 and 1; a verdict takes an adjusted p below 1 - level.
    resamples
        Number of bootstrap resamples, and of permutations where not all can be counted out.
    seed
        Seed of both; every metric of every system has a stream of its own.

    Examples
    --------
    $ mindeye compare runs/subj01 runs/wide
    $ mindeye compare runs/a runs/a --systems both=ridge,mindeye=ridge_centred
    """
    from mindeye.metrics import comparison, comparison_output

    table = comparison.compare(
        run_a,
        run_b,
        systems=comparison.parse_systems(system, systems),
        level=level,
        resamples=resamples,
        seed=seed,
    )
    print(comparison_output.text_of_comparison(table))
    if out is not None:
        comparison_output.write_comparison(table, out)
        print(f"\n{out} holds compare.json, compare.csv and compare.png")
