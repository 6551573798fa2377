"""The command line's tools beside a run: memory plans and benchmarks. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.cli.bench_drawing import (
    add_bench_embedding,
    add_bench_reconstruct,
    bench_embedding,
    bench_reconstruct,
)
from mindeye.cli.bench_evaluate import add_bench_evaluate, bench_evaluate
from mindeye.cli.bench_gallery import add_bench_gallery, bench_gallery
from mindeye.config.settings import preset_content, preset_names, run_config
from mindeye.errors import UsageError
from mindeye.files import write_json

NewParser = Callable[..., ArgumentParser]


def add_plan(verbs: Any, new: NewParser, epilog: str) -> None:
    """Add the verb ``plan``."""
    plan = new(
        "Tell what training a preset takes in memory, without allocating it, and what to switch "
        "on so that it fits a device.",
        epilog=epilog,
    )
    plan.add_argument("preset", type=str, help=f"{', '.join(preset_names())}, or a YAML file")
    plan.add_argument(
        "--device-memory", type=str | None, default=None, help="size like 24GB, 24GiB or 800MB"
    )
    plan.add_argument(
        "--as-published", action="store_true", help="plan the published code's choices"
    )
    _add_sizes(plan)
    plan.add_argument(
        "--latents", type=tuple[int, int, int], default=(4, 64, 64),
        help="channels, height and width of the autoencoder's latents, as [4,64,64]",
    )  # fmt: skip
    plan.add_argument("--json", type=Path | None, default=None, help="file to write as well")
    verbs.add_subcommand("plan", plan, help="memory of a training, and how to make it fit")


def _add_sizes(parser: ArgumentParser) -> None:
    parser.add_argument("--voxels", type=int, default=15724, help="V (NSD subject 1 by default)")
    parser.add_argument("--tokens", type=int, default=257, help="K (CLIP ViT-L/14 by default)")
    parser.add_argument("--width", type=int, default=768, help="D")


def add_bench_train(benches: Any, new: NewParser) -> None:
    """Add ``bench train``."""
    from benchmarks.profiles import PROFILES

    listed = "\n".join(f"  {name:<14}{text}" for name, (text, _) in PROFILES.items())
    train = new(
        "Time full-size optimisation steps on synthetic data, ours beside the published way of "
        "running them, each in a process of its own, at equal loss.",
        epilog=f"profiles:\n\n{listed}",
    )
    train.add_argument("--preset", type=str, default="mindeye1", help="whose sizes and losses")
    train.add_argument(
        "--profiles", type=str, default="as_published,fast,lean", help="names, with commas between"
    )
    train.add_argument("--batch-size", type=int, default=4, help="stimuli a step")
    train.add_argument("--steps", type=int, default=3, help="steps a profile, the first warms up")
    _add_sizes(train)
    train.add_argument("--seed", type=int, default=0, help="of data, weights and all draws")
    train.add_argument("--threads", type=int, default=0, help="of torch, 0 for its own choice")
    train.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda")
    train.add_argument("--json", type=Path | None, default=None, help="file to write")
    benches.add_subcommand("train", train, help="full-size training steps")


def add_bench_prior(benches: Any, new: NewParser) -> None:
    """Add ``bench prior``."""
    prior = new(
        "Sample a trained prior by the published sampler and by few-step ones: cosine to the true "
        "embedding, spread over start noises, seconds a sample. Without --run a subject is "
        "simulated and a prior trained first, under field=value words given after the flags."
    )
    prior.add_argument("--json", type=Path, required=True, help="file to write")
    prior.add_argument("--run", type=Path | None, default=None, help="a run with a trained prior")
    prior.add_argument(
        "--work", type=Path | None, default=None,
        help="without --run: where to simulate and train, kept and gone on with by a second call",
    )  # fmt: skip
    prior.add_argument("--preset", type=str, default="demo", help="without --run: what to train")
    prior.add_argument("--stimuli", type=int, default=0, help="test stimuli, 0 for all")
    prior.add_argument("--samples", type=int, default=8, help="start noises a stimulus")
    prior.add_argument("--repetitions", type=int, default=5, help="timings a sampler, in turns")
    prior.add_argument(
        "--no-paper-size", action="store_true",
        help="do not time the published size on random weights (two minutes on two cores)",
    )  # fmt: skip
    prior.add_argument("--seed", type=int, default=0, help="of noise, bootstrap and simulation")
    benches.add_subcommand("prior", prior, help="samplers of the diffusion prior")


def add_bench_prepare(benches: Any, new: NewParser) -> None:
    """Add ``bench prepare``."""
    prepare = new(
        "Prepare a synthetic NSD tree of real size: time and peak memory, and the reading of a "
        "region's betas beside every other way of reading them."
    )
    prepare.add_argument(
        "--work", type=Path, required=True,
        help="folder for the tree, kept and used again (5 GB; 10 GB while it is measured)",
    )  # fmt: skip
    prepare.add_argument("--json", type=Path, required=True, help="file to write")
    prepare.add_argument("--sessions", type=int, default=3, help="sessions of the tree")
    prepare.add_argument("--voxels", type=int, default=15724, help="V (NSD subject 1 by default)")
    prepare.add_argument("--trials", type=int, default=750, help="trials a session")
    prepare.add_argument(
        "--grid", type=tuple[int, int, int], default=(81, 104, 83), help="X, Y, Z, as [81,104,83]"
    )
    prepare.add_argument("--pictures", type=int, default=1500, help="pictures shown up to 3 times")
    prepare.add_argument("--size", type=int, default=425, help="picture side in pixels")
    prepare.add_argument(
        "--forty", action="store_true",
        help="also 40 sessions of as many voxels on a small grid (20 GB, some minutes)",
    )  # fmt: skip
    prepare.add_argument("--repetitions", type=int, default=5, help="timings a way, in turns")
    prepare.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    benches.add_subcommand("prepare", prepare, help="preparation of NSD at real size")


def add_bench_batches(benches: Any, new: NewParser) -> None:
    """Add ``bench batches``."""
    batches = new(
        "Read batches out of a prepared subject beside batches out of webdataset shards of it, in "
        "one run. Without --subject-dir a subject of random betas is made, and removed."
    )
    batches.add_argument("--json", type=Path, required=True, help="file to write")
    batches.add_argument("--subject-dir", type=Path | None, default=None, help="a prepared subject")
    batches.add_argument(
        "--shards", type=Path | None, default=None, help="its shards; exported where not given"
    )
    batches.add_argument("--stimuli", type=int, default=600, help="of the made subject")
    batches.add_argument("--voxels", type=int, default=15724, help="V of the made subject")
    batches.add_argument("--size", type=int, default=256, help="picture side of the made subject")
    batches.add_argument("--batch-size", type=int, default=32, help="samples a batch")
    batches.add_argument("--batches", type=int, default=16, help="batches of shards a timing")
    batches.add_argument("--repetitions", type=int, default=5, help="timings a way, in turns")
    batches.add_argument("--seed", type=int, default=0, help="of the made subject and all draws")
    benches.add_subcommand("batches", batches, help="batches of a subject and of shards")


def add_bench(verbs: Any, new: NewParser) -> None:
    """Add the verb ``bench`` and what it can time."""
    bench = new("Time and weigh ours beside the published way, in one run. Not a test: no limits.")
    verbs.add_subcommand("bench", bench, help="speed and memory, side by side")
    benches = bench.add_subcommands(dest="what", metavar="WHAT")
    add_bench_train(benches, new)
    add_bench_prior(benches, new)
    add_bench_reconstruct(benches, new)
    add_bench_embedding(benches, new)
    add_bench_prepare(benches, new)
    add_bench_batches(benches, new)
    add_bench_evaluate(benches, new)
    add_bench_gallery(benches, new)


def bench(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench`` prints."""
    return BENCHES[flags.what](flags[flags.what], overrides)


def plan(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``plan`` prints."""
    from mindeye.models.sizes import Sizes
    from mindeye.planning.plan import make_plans, parse_memory, plan_content, table

    limit = None if flags.device_memory is None else parse_memory(flags.device_memory)
    content = preset_content(flags.preset, as_published=flags.as_published)
    config = run_config(content, overrides)
    tokens = 1 if config.targets.tokens == "pooled" else flags.tokens
    sizes = Sizes(flags.voxels, tokens, flags.width, tuple(flags.latents))
    plans = make_plans(config, sizes, limit)
    if flags.json is not None:
        write_json(flags.json, plan_content(plans))
    return table(plans, sizes)


def bench_train(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench train`` prints."""
    from benchmarks.train import TrainBench, bench_train, table

    content = bench_train(
        TrainBench(
            preset=flags.preset,
            profiles=tuple(flags.profiles.split(",")),
            batch_size=flags.batch_size,
            steps=flags.steps,
            voxels=flags.voxels,
            tokens=flags.tokens,
            width=flags.width,
            seed=flags.seed,
            threads=flags.threads,
            device=flags.device,
            fields=tuple(overrides),
        )
    )
    if flags.json is not None:
        write_json(flags.json, content)
    return table(content)


def bench_prior(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench prior`` prints."""
    from benchmarks.prior import bench_prior
    from benchmarks.prior_table import prior_text
    from benchmarks.trained import PriorBenchConfig, opened_run

    config = PriorBenchConfig(
        stimuli=flags.stimuli,
        samples=flags.samples,
        repetitions=flags.repetitions,
        paper_size=not flags.no_paper_size,
        seed=flags.seed,
    )
    with opened_run(flags.run, flags.work, flags.preset, flags.seed, overrides) as work:
        content = bench_prior(work, config)
    write_json(flags.json, content)
    return prior_text(content)


def bench_prepare(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench prepare`` prints."""
    from benchmarks.prepare import PrepareBench, bench_prepare, table
    from benchmarks.prepare_files import TreeConfig

    _no_fields("prepare", overrides)
    tree = TreeConfig(
        sessions=flags.sessions,
        trials=flags.trials,
        voxels=flags.voxels,
        grid=tuple(flags.grid),
        pictures=flags.pictures,
        size=flags.size,
        seed=flags.seed,
    )
    content = bench_prepare(
        PrepareBench(flags.work, tree, forty=flags.forty, repetitions=flags.repetitions)
    )
    write_json(flags.json, content)
    return table(content)


def bench_batches(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench batches`` prints."""
    from benchmarks.batches import BatchesBench, bench_batches, table

    _no_fields("batches", overrides)
    content = bench_batches(
        BatchesBench(
            subject=flags.subject_dir,
            shards=flags.shards,
            stimuli=flags.stimuli,
            voxels=flags.voxels,
            size=flags.size,
            batch_size=flags.batch_size,
            batches=flags.batches,
            repetitions=flags.repetitions,
            seed=flags.seed,
        )
    )
    write_json(flags.json, content)
    return table(content)


def _no_fields(what: str, overrides: Sequence[str]) -> None:
    if overrides:
        raise UsageError(f"bench {what} takes no fields of a run; leave out {overrides[0]}")


BENCHES: dict[str, Callable[[Namespace, Sequence[str]], str]] = {
    "train": bench_train,
    "prior": bench_prior,
    "reconstruct": bench_reconstruct,
    "embedding": bench_embedding,
    "prepare": bench_prepare,
    "batches": bench_batches,
    "evaluate": bench_evaluate,
    "gallery": bench_gallery,
}
