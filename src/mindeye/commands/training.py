"""Verbs that train and decode: a whole run, its stages, an ablation, a plan of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindeye.commands.ablation_plan import read_plan
from mindeye.commands.folders import need_run, need_subject
from mindeye.config.settings import run_config
from mindeye.errors import UsageError

if TYPE_CHECKING:
    from mindeye.runs import Workspace

STAGE_HELP = {
    "embed": "Embed all stimuli: tokens and latents, memory-mapped.",
    "ridge": "Fit the ridge baseline.",
    "high": "Train backbone, projector and diffusion prior.",
    "low": "Train the low-level pipeline.",
    "predict": "Write embeddings and latents of the test stimuli, predicted from the brain.",
    "conditions": "Predict the test stimuli from fewer trials, with and without regions.",
    "retrieve": "Rank pictures by brain and brains by picture.",
    "reconstruct": "Draw the test stimuli.",
    "evaluate": "Write metrics.json and metrics.csv.",
    "report": "Write report.html.",
}


def run(
    preset: str = "",
    *fields: str,
    out: Path,
    subject_dir: Path | None = None,
    until: str = "report",
    as_published: bool = False,
    weights: str = "",
    resume: bool = False,
) -> Path:
    """Do all stages on a prepared subject.

    What is done already is skipped, what was cut off goes on.

    Parameters
    ----------
    preset
        Name of a preset, or a YAML file of your own.
    fields
        Fields of the run that differ from the preset, like ``high.optim.epochs=80``.
    out
        Folder of the run, which is made if it is not there.
    subject_dir
        Folder of a prepared subject, as `mindeye prepare` writes it.
    until
        Last stage to do: embed, ridge, high, low, predict, conditions, retrieve, reconstruct,
        evaluate or report.
    as_published
        Take the published code's choice wherever ours is another one by default.
    weights
        Folder of published models, the same as the field weights=DIR; else MINDEYE_WEIGHTS, else
        the Hugging Face cache.
    resume
        Go on with the configuration stored in the run, whatever preset is named.

    Returns
    -------
    Path
        Folder of the last stage, or the page if all stages are done.

    Examples
    --------
    $ mindeye run demo --subject-dir subj01 --out runs/subj01
    $ mindeye run demo --subject-dir subj01 --out runs/wide high.decoder.width=2048
    $ mindeye run mindeye1 --subject-dir subj01 --out runs/paper --weights weights
    """
    given = [*fields, f"weights={weights}"] if weights else list(fields)
    config = None
    if resume and given:
        raise UsageError(f"--resume takes the run's own configuration; leave out {given[0]}")
    if resume:
        need_run(out)
    elif not preset or subject_dir is None:
        raise UsageError(
            "run needs a preset and --subject-dir, or --resume with the --out of a run"
        )
    else:
        config = run_config(preset, given, as_published=as_published)
        need_subject(subject_dir)
        _print_licences(config)
    from mindeye.runs import open_run, start_run

    if config is None or subject_dir is None:
        work = open_run(out, run_config)
    else:
        work = start_run(config, subject_dir, out)
    return do_stages(work, until)


def _print_licences(config: Any) -> None:
    """Refuse a configuration whose models are not on this machine; print the others' licences."""
    from mindeye.weights.names import found_models

    for model in found_models(config):
        print(f"{model['name']}: licence {model['licence'] or 'not known, see its card'}")


def do_stages(work: Workspace, until: str) -> Path:
    """Do the stages of a run up to one, say which is at work, and return where the result lies."""
    from mindeye.runs import run_all

    done = run_all(work, until=until, announce=lambda line: print(line, flush=True))
    last = list(done)[-1]
    result = work.folder / "report.html" if last == "report" else work.folder / last
    if work.processes.is_first:
        skipped = [name for name, worked in done.items() if not worked]
        if skipped:
            print(f"done before: {', '.join(skipped)}")
        print(f"{result} is ready")
    return result


def stage(name: str) -> Callable[..., Path]:
    """Return the verb that does one stage of an existing run, and what the stage needs."""

    def verb(folder: Path) -> Path:
        need_run(folder)
        from mindeye.runs import open_run

        return do_stages(open_run(folder, run_config), name)

    verb.__name__ = name
    verb.__doc__ = f"""{STAGE_HELP[name]}

    A stage of a run that is there already. Stages that it needs and that are not done come first.

    Parameters
    ----------
    folder
        Folder of a run.

    Examples
    --------
    $ mindeye {name} runs/subj01
    """
    return verb


def ablate(plan: str, *fields: str, subject_dir: Path, out: Path) -> Path:
    """Train the rows of an ablation and test each against the full model.

    Every row is an ordinary run that differs in some fields; one table holds all. A second call
    goes on where the first one stopped.

    Parameters
    ----------
    plan
        Name of a plan, or a YAML file of your own.
    fields
        Fields for all rows, laid over the plan's own; what a row sets itself stays.
    subject_dir
        Folder of a prepared subject.
    out
        Folder of all runs and of the table.

    Returns
    -------
    Path
        The table as Markdown.

    Examples
    --------
    $ mindeye ablate paper --subject-dir subj01 --out ablation
    $ mindeye ablate seeds --subject-dir subj01 --out seeds high.optim.epochs=20
    """
    rows = read_plan(plan, fields)
    need_subject(subject_dir)
    from mindeye.commands.ablation import run_ablation

    table = run_ablation(rows, subject_dir, out)
    print(f"{table} is ready")
    return table


def plan(
    preset: str,
    *fields: str,
    device_memory: str = "",
    as_published: bool = False,
    voxels: int = 15724,
    tokens: int = 257,
    width: int = 768,
    latents: tuple[int, int, int] = (4, 64, 64),
    json: Path | None = None,
) -> None:
    """Count the memory that a training takes, and what makes it fit a device.

    Nothing of that size is allocated: the steps run on tensors that have a shape and no content.

    Parameters
    ----------
    preset
        Name of a preset, or a YAML file of your own.
    fields
        Fields of the run that differ from the preset.
    device_memory
        Memory of the device, like 24GB, 24GiB or 800MB; without it only the preset is counted.
    as_published
        Count the published code's choices.
    voxels
        Number of voxels V, by default that of NSD's subject 1.
    tokens
        Number of tokens K an image, by default that of CLIP ViT-L/14.
    width
        Width D of a token.
    latents
        Channels, height and width of the autoencoder's latents, as 4 64 64.
    json
        File to write the figures to as well.

    Examples
    --------
    $ mindeye plan mindeye1
    $ mindeye plan mindeye1 --device-memory 24GB
    """
    config = run_config(preset, fields, as_published=as_published)
    from mindeye.planning.plan import parse_memory

    limit = parse_memory(device_memory) if device_memory else None
    from mindeye.files import write_json
    from mindeye.models.sizes import Sizes
    from mindeye.planning.plan import make_plans, plan_content, table

    pooled = config.targets.tokens == "pooled"
    sizes = Sizes(voxels, 1 if pooled else tokens, width, latents)
    plans = make_plans(config, sizes, limit)
    if json is not None:
        write_json(json, plan_content(plans))
    print(table(plans, sizes))
