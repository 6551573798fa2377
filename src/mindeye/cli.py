"""The command line: every verb is a plain function, its flags are the function's signature."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from mindeye import __version__
from mindeye.commands import gallery
from mindeye.commands.data import export_shards, fetch_nsd, prepare, prepare_verbs
from mindeye.commands.demo import demo
from mindeye.commands.doctor import doctor
from mindeye.commands.inspecting import check, info
from mindeye.commands.models import (
    export_embeddings,
    fetch_metrics,
    fetch_models,
    generate,
    import_checkpoint,
)
from mindeye.commands.scoring import compare, evaluate
from mindeye.commands.training import STAGE_HELP, ablate, plan, run, stage
from mindeye.config.fields import closest
from mindeye.config.flags import call, flags_of
from mindeye.errors import MindEyeError, UsageError
from mindeye.verb_help import headline, help_of

Verb = Callable[..., Any]

INTERRUPTED = 130


def completion(shell: str) -> str:
    """Print a script that completes verbs and flags at a press of the tab key.

    Parameters
    ----------
    shell
        The shell: bash, or zsh, which reads the same script.

    Examples
    --------
    $ mindeye completion bash > ~/.local/share/bash-completion/completions/mindeye
    """
    if shell not in ("bash", "zsh"):
        raise UsageError(f"no completion for {shell!r}; there is one for bash and for zsh")
    verbs = all_verbs()
    names = sorted({word for verb in verbs for word in [verb.split()[0]]})
    lines = ["_mindeye() {", '  local verb="${COMP_WORDS[1]}" words=""']
    lines += ['  case "${COMP_WORDS[*]:1:2}" in']
    for verb, function in verbs.items():
        flags = " ".join(flag.name for flag in flags_of(function) if not flag.is_word)
        below = " ".join(v.split()[1] for v in verbs if v.startswith(f"{verb} "))
        lines.append(f'    "{verb}"*) words="{below} {flags}" ;;')
    for group in sorted({verb.split()[0] for verb in verbs if " " in verb} - set(verbs)):
        below = " ".join(v.split()[1] for v in verbs if v.startswith(f"{group} "))
        lines.append(f'    "{group}"*) words="{below}" ;;')
    # The first pattern that fits is taken, so that the longest comes first.
    lines[3:] = sorted(lines[3:], key=lambda line: -len(line.partition('"*')[0]))
    lines += ["  esac", f'  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(names)}"']
    lines += ['  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))', "}"]
    head = ["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []
    return "\n".join([*head, *lines, "complete -o default -F _mindeye mindeye"])


GROUPS: dict[str, dict[str, Verb]] = {
    "Start here": {"demo": demo, "doctor": doctor, "info": info},
    "Data": {
        "prepare": prepare,
        "check": check,
        "fetch nsd": fetch_nsd,
        "export-shards": export_shards,
    },
    "Train and decode": {"run": run, "ablate": ablate, "plan": plan},
    "Measure": {"evaluate": evaluate, "compare": compare},
    "Galleries of pictures": {
        "gallery build": gallery.build,
        "gallery add": gallery.add,
        "gallery search": gallery.search,
        "gallery embed": gallery.embed,
        "gallery info": gallery.info,
        "gallery check": gallery.check,
    },
    "Models and files": {
        "fetch models": fetch_models,
        "fetch metrics": fetch_metrics,
        "import-checkpoint": import_checkpoint,
        "export-embeddings": export_embeddings,
        "generate": generate,
        "completion": completion,
    },
    "Stages of a run, one by one": {name: stage(name) for name in STAGE_HELP if name != "evaluate"},
}
"""Verbs by what people come for, in the order of the help."""

VERBS: dict[str, Verb] = {name: verb for group in GROUPS.values() for name, verb in group.items()}

GONE = {
    "bench": "benchmarks are run from a checkout: `python -m benchmarks.WHAT --help`, WHAT being "
    "train, prior, prepare, batches, evaluate, embedding, reconstruct or gallery",
}
"""Verbs of earlier versions, and where they went."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Parameters
    ----------
    arguments
        Words after the name of the program; those of the process by default.

    Returns
    -------
    int
        0 when all went well, 2 for a mistake in usage, configuration or data, 130 after Ctrl-C,
        1 for anything else that has a name.

    Examples
    --------
    >>> main(["--version"])
    mindeye 0.1.0
    0
    """
    if arguments is None:
        _keep_others_quiet()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Large tensors on huge pages: torch reads this at its first allocation. Without it a full-size
    # step on a CPU spends most of its time in page faults (docs/explanation/performance.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return _guarded(lambda: _answer(words))


def run_verb(name: str, verb: Verb, words: Sequence[str]) -> int:
    """Call a function with the words of a command line, as `main` does; return the exit code.

    Parameters
    ----------
    name
        Command that the words follow, like ``mindeye run``.
    verb
        Plain function whose signature says what flags there are.
    words
        Words after the command.
    """
    return _guarded(lambda: _called(name, verb, words))


def _guarded(work: Callable[[], Any]) -> int:
    """Do some work, print the text that it returns or the error that it meets."""
    try:
        answer = work()
        if isinstance(answer, str):
            print(answer)
    except MindEyeError as error:
        # A library's own words within it may run over several lines.
        print(f"mindeye: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever reads the output, such as `head`, has enough; the rest goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"mindeye: {error}; finished stages are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "mindeye: stopped; finished stages are kept, the same command goes on", file=sys.stderr
        )
        return INTERRUPTED
    return 0


def _keep_others_quiet() -> None:
    """Print no other library's log lines and warnings, unless Python is asked for warnings."""
    if sys.warnoptions:
        return
    warnings.filterwarnings("ignore")
    # A handler on the root keeps logging from printing what nobody handles.
    logging.getLogger().addHandler(logging.NullHandler())
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def _answer(words: list[str]) -> Any:
    """Do what a command line says; return text to be printed, if any."""
    if not words or words[0] in ("-h", "--help", "help"):
        return overview() if len(words) < 2 else _answer([*words[1:], "--help"])
    if words[0] == "--version":
        return f"mindeye {__version__}"
    name, verb, rest = find_verb(words)
    return _called(f"mindeye {name}", verb, rest)


def _called(name: str, verb: Verb, words: Sequence[str]) -> Any:
    for asked in ("-h", "--help"):
        if asked in words:
            topic = [w for w in words[words.index(asked) + 1 :] if not w.startswith("-")]
            return help_of(name, verb, *topic[:1])
    try:
        return call(verb, words)
    except UsageError as error:
        raise UsageError(f"{error}; see `{name} --help`") from error


def all_verbs() -> dict[str, Verb]:
    """Return every verb, those of the sources of `prepare` too, which take a second to import."""
    return {**VERBS, **prepare_verbs()}


def find_verb(words: Sequence[str]) -> tuple[str, Verb, list[str]]:
    """Return name and function of the verb that words begin with, and the words after it.

    Raises
    ------
    UsageError
        If there is no such verb; says which one was perhaps meant.
    """
    verbs = all_verbs() if words[0] == "prepare" else VERBS
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in verbs and len(words) >= count:
            is_misspelt = name == "prepare" and len(words) > 1 and not words[1].startswith("-")
            if not is_misspelt:
                return name, verbs[name], list(words[count:])
    below = [verb for verb in verbs if verb.startswith(f"{words[0]} ")]
    if below and (len(words) == 1 or words[1] in ("-h", "--help")):
        return words[0], _group(words[0], below), list(words[1:])
    if words[0] in GONE:
        raise UsageError(f"there is no verb {words[0]} any more: {GONE[words[0]]}")
    given = " ".join(words[:2]) if below else words[0]
    close = closest(given, below or list(verbs))
    meant = f"; did you mean `mindeye {close}`?" if close else ";"
    parent = f"mindeye {words[0]} --help" if below else "mindeye --help"
    raise UsageError(f"there is no verb {given!r}{meant} `{parent}` lists all")


def _group(name: str, below: Sequence[str]) -> Verb:
    """Return the verb of a name that needs a second word."""

    def verb() -> None:
        raise UsageError(f"{name} needs a second word: {', '.join(v.split()[1] for v in below)}")

    verb.__doc__ = f"{name.capitalize()}: {', '.join(v.split()[1] for v in below)}."
    return verb


def overview() -> str:
    """Return the help of `mindeye` itself: every verb in one line, by what people come for."""
    lines = [
        "MindEye: from fMRI betas to the picture that was seen.",
        "",
        "usage: mindeye VERB [words and flags]      `mindeye VERB --help` explains a verb",
        "       mindeye demo --out demo             a simulated brain, decoded in some minutes",
    ]
    for group, verbs in GROUPS.items():
        lines += ["", f"{group}:"]
        for name, verb in verbs.items():
            shown = f"{name} SOURCE" if name == "prepare" else name
            lines.append(f"  {shown:<18} {headline(verb)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
