"""The command line: verbs and their flags, each handed to one function. No logic lives here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from mindeye import __version__
from mindeye.cli.compare import add_compare, compare
from mindeye.cli.data import add_export, add_fetch, add_prepare, export, facts_text, fetch, prepare
from mindeye.cli.embeddings import (
    add_export_embeddings,
    add_generate,
    export_embeddings,
    generate,
)
from mindeye.cli.evaluating import add_evaluate, evaluate_external, is_external, whole_words
from mindeye.cli.gallery import add_gallery, gallery
from mindeye.cli.tools import add_bench, add_plan, bench, plan
from mindeye.commands.ablation_plan import plan_names, read_plan
from mindeye.config import RunConfig
from mindeye.config.settings import (
    dotted_fields,
    preset_content,
    preset_names,
    run_config,
)
from mindeye.errors import MindEyeError, UsageError
from mindeye.weights.names import found_models

if TYPE_CHECKING:
    from mindeye.runs import Workspace

STAGE_HELP = {
    "embed": "embed all stimuli (tokens and latents), memory-mapped",
    "ridge": "fit the ridge baseline",
    "high": "train backbone, projector and diffusion prior",
    "low": "train the low-level pipeline",
    "predict": "write brain embeddings and latents of the test stimuli",
    "conditions": "predict the test stimuli from fewer trials, with and without regions",
    "retrieve": "rank pictures by brain and brains by picture",
    "reconstruct": "draw the test stimuli",
    "evaluate": "write metrics.json and metrics.csv",
    "report": "write report.html",
}

INTERRUPTED = 130

SWITCHES = ("--as-published", "--resume")
"""Flags that take no value, so that a ``field=value`` word may follow them."""


def _field_list() -> str:
    lines = ["fields of a run, given as field=value after the flags:", ""]
    for name, doc, default in dotted_fields(RunConfig):
        lines.append(f"  {name}={default}")
        lines.append(f"      {doc}")
    return "\n".join(lines)


def _parser(words: Sequence[str]) -> ArgumentParser:
    import argparse

    class Raw(argparse.RawDescriptionHelpFormatter):
        """Keeps the line breaks of the field list."""

    def new(description: str, **more: Any) -> ArgumentParser:
        return ArgumentParser(
            description=description, exit_on_error=False, formatter_class=Raw, **more
        )

    parser = new("MindEye: from fMRI betas to the picture that was seen.")
    parser.add_argument("--version", action="version", version=f"mindeye {__version__}")
    verbs = parser.add_subcommands(dest="verb", metavar="VERB")

    demo = new(
        "Decode a simulated brain from end to end: simulate a subject, run the preset demo on it, "
        "write DIR/report.html. A second call goes on where the first one stopped.",
        epilog=_field_list(),
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    demo.add_argument("--seed", type=int, default=0, help="seed of the subject and of the run")
    verbs.add_subcommand("demo", demo, help="decode a simulated brain, no data needed")

    run = new(
        "Do all stages on a prepared subject; what is done already is skipped, what was cut off "
        f"goes on. Presets: {', '.join(preset_names())}, or a YAML file of your own.",
        epilog=_field_list(),
    )
    run.add_argument("preset", type=str, help="name of a preset, or a YAML file")
    run.add_argument("--subject-dir", type=Path, required=True, help="a prepared subject")
    run.add_argument("--out", type=Path, required=True, help="folder of the run")
    run.add_argument(
        "--until", type=str, default="report", help=f"last stage to do: {', '.join(STAGE_HELP)}"
    )
    run.add_argument(
        "--as-published", action="store_true",
        help="take the published code's choice wherever ours is another one by default",
    )  # fmt: skip
    run.add_argument(
        "--weights", type=str, default="",
        help="folder of published models, the same as weights=DIR; else MINDEYE_WEIGHTS, else the "
        "Hugging Face cache",
    )  # fmt: skip
    run.add_argument(
        "--resume", action="store_true",
        help="go on with the configuration stored in the run, whatever preset is named",
    )  # fmt: skip
    verbs.add_subcommand("run", run, help="do all stages on a prepared subject")

    add_prepare(verbs, new, asked=words)
    add_fetch(verbs, new, asked=words)
    add_export(verbs, new, asked=words)
    add_export_embeddings(verbs, new, asked=words)
    add_generate(verbs, new, asked=words)
    add_gallery(verbs, new, asked=words)
    for verb, text in (
        ("info", "tell what is in a prepared subject"),
        ("check", "verify a prepared subject: checksums, splits, values"),
    ):
        sub = new(text.capitalize() + ".")
        sub.add_argument("folder", type=Path, help="a prepared subject")
        verbs.add_subcommand(verb, sub, help=text)
    weights = new(
        "Read a checkpoint of the paper's authors without running code in it, check every name, "
        "shape and value, and write it as a folder. docs/how-to/checkpoints.md tells which load."
    )
    weights.add_argument("file", type=Path, help="their .pth file")
    weights.add_argument("--out", type=Path, required=True, help="folder to write")
    verbs.add_subcommand("import-checkpoint", weights, help="read a checkpoint of the authors")
    _add_ablate(verbs, new)
    add_compare(verbs, new)
    add_plan(verbs, new, _field_list())
    add_bench(verbs, new)
    for verb, text in STAGE_HELP.items():
        if verb == "evaluate":
            add_evaluate(verbs, new, text)
            continue
        sub = new(f"One stage of an existing run, and what it needs: {text}.")
        sub.add_argument("folder", type=Path, help="folder of a run")
        verbs.add_subcommand(verb, sub, help=text)
    return parser


def _add_ablate(verbs: Any, new: Callable[..., ArgumentParser]) -> None:
    ablate = new(
        "Re-run the rows of an ablation on a prepared subject and set each against the full model "
        f"in one table. Plans: {', '.join(plan_names())}, or a YAML file of your own. A second "
        "call goes on where the first one stopped.",
        epilog=_field_list(),
    )
    ablate.add_argument("plan", type=str, help="name of a plan, or a YAML file")
    ablate.add_argument("--subject-dir", type=Path, required=True, help="a prepared subject")
    ablate.add_argument("--out", type=Path, required=True, help="folder of all its runs")
    verbs.add_subcommand("ablate", ablate, help="re-run the paper's ablations on a subject")


def _demo(flags: Namespace, overrides: Sequence[str]) -> None:
    from mindeye.commands.demo import run_demo

    config = run_config(preset_content("demo"), [f"seed={flags.seed}", *overrides])
    page = run_demo(flags.out, config)
    print(f"open {page} in a browser; the table is {page.parent / 'metrics.csv'}")


def _run(flags: Namespace, overrides: Sequence[str]) -> None:
    fields = [*overrides, f"weights={flags.weights}"] if flags.weights else list(overrides)
    if flags.resume and fields:
        raise UsageError(f"--resume takes the run's own configuration; leave out {fields[0]}")
    config = None
    if not flags.resume:
        content = preset_content(flags.preset, as_published=flags.as_published)
        config = run_config(content, fields)
        # Before torch is imported: that a model is not there is said at once.
        for model in found_models(config):
            print(f"{model['name']}: licence {model['licence'] or 'not known, see its card'}")
    from mindeye.runs import open_run, run_all, start_run

    if config is None:
        work = open_run(flags.out, run_config)
    else:
        work = start_run(config, flags.subject_dir, flags.out)
    _tell(work, run_all(work, until=flags.until))


def _ablate(flags: Namespace, overrides: Sequence[str]) -> None:
    plan = read_plan(flags.plan, overrides)
    from mindeye.commands.ablation import run_ablation

    print(f"{run_ablation(plan, flags.subject_dir, flags.out)} is ready")


def _tell(work: Workspace, done: dict[str, bool]) -> None:
    if not work.processes.is_first:
        return
    folder = work.folder
    skipped = [name for name, worked in done.items() if not worked]
    if skipped:
        print(f"done before: {', '.join(skipped)}")
    last = list(done)[-1]
    print(f"{folder / 'report.html' if last == 'report' else folder / last} is ready")


def _inspect(verb: str, folder: Path) -> None:
    from mindeye.data.subject import load_subject
    from mindeye.data.subject_checks import check_subject, describe

    if verb == "check":
        from mindeye.preparation.guards import recheck

        for line in recheck(check_subject(folder)):
            print(line)
        print(f"{folder} is sound")
    else:
        print(facts_text(describe(load_subject(folder))))


def _import_checkpoint(file: Path, out: Path) -> None:
    from mindeye.published.imported import import_checkpoint

    description = import_checkpoint(file, out)
    print(facts_text({**description, "folder": out}))


def _stage(verb: str, folder: Path) -> None:
    from mindeye.runs import open_run, run_all

    work = open_run(folder, run_config)
    _tell(work, run_all(work, until=verb))


def _dispatch(flags: Namespace, overrides: Sequence[str]) -> None:
    chosen = flags[flags.verb]
    if overrides and flags.verb not in ("demo", "run", "ablate", "plan", "bench"):
        raise UsageError(f"{flags.verb} takes no fields of a run; leave out {overrides[0]}")
    if flags.verb == "demo":
        _demo(chosen, overrides)
    elif flags.verb == "run":
        _run(chosen, overrides)
    elif flags.verb == "ablate":
        _ablate(chosen, overrides)
    elif flags.verb == "plan":
        print(plan(chosen, overrides))
    elif flags.verb == "bench":
        print(bench(chosen, overrides))
    elif flags.verb == "prepare":
        print(prepare(chosen))
    elif flags.verb == "fetch":
        fetch(chosen, tell=print)
    elif flags.verb == "compare":
        print(compare(chosen))
    elif flags.verb == "export-shards":
        print(export(chosen))
    elif flags.verb == "export-embeddings":
        print(export_embeddings(chosen))
    elif flags.verb == "generate":
        print(generate(chosen))
    elif flags.verb == "gallery":
        print(gallery(chosen))
    elif flags.verb in ("info", "check"):
        _inspect(flags.verb, chosen.folder)
    elif flags.verb == "import-checkpoint":
        _import_checkpoint(chosen.file, chosen.out)
    elif flags.verb == "evaluate" and is_external(chosen):
        evaluate_external(chosen, tell=print)
    else:
        _stage(flags.verb, chosen.folder)


def _split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``field=value`` words from flags and their values."""
    if words[:1] == ["evaluate"]:
        # Its words are NAME=PATH of systems, and it takes no fields of a run.
        return whole_words(words), []
    plain: list[str] = []
    overrides: list[str] = []
    for i, word in enumerate(words):
        before = words[i - 1] if i > 0 else ""
        follows_flag = before.startswith("--") and "=" not in before and before not in SWITCHES
        name = word.partition("=")[0]
        is_field = "=" in word and name.replace(".", "").replace("_", "").isalnum()
        (overrides if is_field and not follows_flag else plain).append(word)
    return plain, overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 when all went well, 2 for a mistake in usage, configuration or data, 130 after Ctrl-C,
    1 for anything else that has a name.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Large tensors on huge pages: torch reads this at its first allocation. Without it a full-size
    # step on a CPU spends most of its time in page faults (docs/explanation/performance.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        plain, overrides = _split_words(words)
        flags = _parser(plain).parse_args(plain)
        _dispatch(flags, overrides)
    except MindEyeError as error:
        # A library's own words within it may run over several lines.
        print(f"mindeye: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except ArgumentError as error:
        problem = " ".join(str(error).split())
        print(f"mindeye: {problem}; `mindeye VERB --help` tells more", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mindeye: {error}; finished stages are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "mindeye: stopped; finished stages are kept, the same command goes on", file=sys.stderr
        )
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
