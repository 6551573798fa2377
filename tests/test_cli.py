"""The command line: verbs, flags, help, and what is said when something is mistyped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mindeye import cli
from mindeye.cli import GROUPS, all_verbs, main, overview
from mindeye.commands.training import STAGE_HELP
from mindeye.config.flags import _sorted, flags_of, takes_fields
from mindeye.runs import STAGES
from mindeye.verb_help import examples_of, help_of

Write = Callable[..., dict[str, Path]]

ROOT = Path(__file__).parents[1]


def prepare_words(paths: dict[str, Path], out: Path) -> list[str]:
    flags = [f"--{name}={path}" for name, path in paths.items()]
    # The arrays are noise, which the alignment self-test is there to refuse.
    return ["prepare", "arrays", *flags, f"--out={out}", "--no-alignment-test"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a command is refused with."""
    assert main(list(words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("mindeye: ")
    assert error.count("\n") == 1
    return error


def modules_after(*words: str, **environment: str) -> tuple[str, set[str]]:
    """Return what a command prints in a fresh process, and the top modules that it imports."""
    code = (
        "import sys; from mindeye.cli import main; main(sys.argv[1:]); "
        "print(' '.join({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    *told, modules = done.stderr.splitlines()
    return done.stdout + "\n".join(told), set(modules.split())


def test_prepare_info_and_check_work_together(
    arrays: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "subject"
    assert main(prepare_words(arrays(), out)) == 0
    assert main(["check", str(out)]) == 0
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "voxels              12" in told
    assert "test stimuli        2" in told


def test_bad_data_is_one_line_and_exit_code_2(
    arrays: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    betas = np.random.default_rng(0).standard_normal((40, 3))
    betas[4, 1] = np.nan
    assert "voxel 1 holds NaN" in refused(
        capsys, *prepare_words(arrays(betas=betas), tmp_path / "s")
    )


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("info /nowhere", "/nowhere"),
        ("info", "required: folder; see `mindeye info --help`"),
        ("report /nowhere", "holds no run"),
        ("run demo --subject-dir=/nowhere --out=/nowhere/else", "/nowhere is not a prepared"),
        ("run demoo --subject-dir=/nowhere --out=/nowhere/else", "did you mean demo?"),
        ("run demo", "required: --out; see `mindeye run --help`"),
        ("run demo --out=x", "--subject-dir"),
        ("run demo subj01 --out x", "did you mean --subject-dir subj01?"),
        ("run demo --subject-dir x --out y --untl=low", "did you mean --until?"),
        ("run demo --subject-dir x --out", "--out needs a value"),
        ("run demo --subject-dir=x --out=y high.optim.epocs=3", "did you mean high.optim.epochs?"),
        ("run demo --subject-dir=x --out=y --high.optim.epocs=3", "did you mean high.optim.epochs"),
        ("run demo --subject-dir=x --out=y high.decoder.width=abc", "must be a whole number"),
        ("run --resume --out=/nowhere", "/nowhere holds no run"),
        ("run --resume --out=x seed=3", "--resume takes the run's own configuration"),
        ("prepare", "prepare needs a source"),
        ("prepare array --out x", "did you mean `mindeye prepare arrays`?"),
        ("prepare arrays --betas=/nowhere.npy --stimuli=x --trials=y --out=z", "/nowhere.npy"),
        ("prepare nsd --root /nowhere --out=z", "/nowhere"),
        ("prepar arrays", "did you mean `mindeye prepare`?"),
        ("info /nowhere seed=3", "takes no fields of a run; leave out seed=3"),
        ("no-such-verb", "`mindeye --help` lists all"),
        ("gallery", "needs a second word: build, add"),
        ("gallery serch x", "did you mean `mindeye gallery search`?"),
        ("bench train", "python -m benchmarks.WHAT"),
        ("generate /nowhere --out x", "/nowhere is not there"),
        ("generate /nowhere --out x --steps many", "--steps is 'many'; it must be a whole number"),
        ("completion fish", "bash"),
        ("run --help hihg", "did you mean high"),
    ],
)
def test_mistakes_are_one_line_that_says_what_was_perhaps_meant(
    command: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer in refused(capsys, *command.split())


def test_ctrl_c_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_answer", stop)
    assert main(["info", "x"]) == 130
    assert "finished stages are kept" in capsys.readouterr().err


def test_every_stage_is_a_verb() -> None:
    assert list(STAGE_HELP) == list(STAGES)
    assert set(STAGE_HELP) <= set(all_verbs())


def test_without_a_verb_the_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert text.strip() == overview()
    for verbs in GROUPS.values():
        for name in verbs:
            assert re.search(rf"^  {name} +\S", text, re.MULTILINE) or name == "prepare"


def test_help_of_a_run_is_short_and_that_of_its_fields_complete(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 60
    assert re.search(r"^  demo +A simulated subject", short, re.MULTILINE)
    assert main(["run", "--help", "fields"]) == 0
    text = capsys.readouterr().out
    assert "high.prior.loss_weight=30.0" in text
    assert "Weight of the prior's loss" in text
    assert main(["run", "--help", "low.optim"]) == 0
    assert "high." not in capsys.readouterr().out


@pytest.mark.parametrize("name", all_verbs())
def test_every_verb_says_what_each_flag_is_for_and_gives_an_example(name: str) -> None:
    verb = all_verbs()[name]
    for flag in flags_of(verb):
        assert flag.field.doc, flag.name
    assert examples_of(verb) or name == "prepare"
    assert f"usage: mindeye {name}" in help_of(f"mindeye {name}", verb)


def commands_of_the_docs() -> list[str]:
    """Return every command line of the README, the docs and the verbs' own examples."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", " ")
    shown = re.findall(r"^ *(?:\$ )?(mindeye [a-z][^\n`]*)", text, re.MULTILINE)
    shown += re.findall(r"`(mindeye [a-z][^`]* --?[^`]*)`", text.replace("\n", " "))
    shown += [line for verb in all_verbs().values() for line in examples_of(verb)]
    whole = {re.split(r"\s+#|\s+&&|\s+>|; ", line)[0].strip() for line in shown}
    return sorted(line for line in whole if "..." not in line and "SOURCE" not in line)


@pytest.mark.parametrize("command", commands_of_the_docs())
def test_every_command_of_the_docs_is_understood(command: str) -> None:
    name, verb, words = cli.find_verb(command.split()[1:])
    if "--help" in words:
        assert help_of(name, verb)
    else:
        _sorted(flags_of(verb), words, takes_fields(verb))


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["run", "--help"], ["plan", "--help", "fields"], ["fetch", "--help"]]
)
def test_help_imports_neither_torch_nor_pandas(words: list[str]) -> None:
    assert not {"torch", "pandas", "transformers"} & modules_after(*words)[1]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "demo", "--subject-dir=/nowhere", "--out=/nowhere/else"],
        ["ablate", "paper", "--subject-dir=/nowhere", "--out=/nowhere/else"],
        ["predict", "/nowhere"],
        ["export-embeddings", "/nowhere", "--out=x"],
        ["generate", "/nowhere.npy", "--out=x"],
        ["prepare", "arrays", "--betas=/nowhere.npy", "--stimuli=x", "--trials=y", "--out=z"],
        ["evaluate", "/nowhere"],
    ],
)
def test_what_is_missing_is_said_before_torch_is_imported(words: list[str]) -> None:
    text, modules = modules_after(*words)
    assert "/nowhere" in text
    assert "torch" not in modules


def test_the_doctor_works_where_torch_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    text, modules = modules_after("doctor", PYTHONPATH=path, MINDEYE_WEIGHTS=str(tmp_path))
    assert "torch does not import: ImportError: libcudart.so.12 is missing" in text
    assert "pandas" in text
    assert "extra gallery" in text
    assert f"models in {tmp_path}" in text
    assert "torch" not in modules


def test_the_doctor_names_the_command_that_brings_an_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mindeye.commands import doctor

    monkeypatch.setattr(doctor, "installed", lambda name: "" if name == "webdataset" else "1.0")
    monkeypatch.setattr(doctor, "_devices", list)
    doctor.doctor()
    text = capsys.readouterr().out
    assert "missing webdataset: pip install 'mindeye[shards]'" in text


def test_the_completion_is_a_script_that_bash_reads() -> None:
    script = cli.completion("bash")
    ask = (
        f"{script}\n"
        "COMP_WORDS=(mindeye run --subj); COMP_CWORD=2; _mindeye; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(mindeye gallery se); COMP_CWORD=2; _mindeye; echo ${COMPREPLY[@]}\n"
        "COMP_WORDS=(mindeye prep); COMP_CWORD=1; _mindeye; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--subject-dir", "search", "prepare"]


def test_a_flag_may_be_cut_short_and_fields_may_have_dashes() -> None:
    words = ["demo", "--subject", "s", "--out=o", "--high.optim.epochs=80", "low.width=8"]
    plain, fields = _sorted(flags_of(cli.run), words, with_fields=True)
    assert plain == ["demo", "--subject-dir=s", "--out=o"]
    assert fields == ["high.optim.epochs=80", "low.width=8"]
