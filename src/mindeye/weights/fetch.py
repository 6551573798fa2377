"""Download the models that a preset names: sizes and licences first, then the files, checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mindeye.errors import CheckpointError, MindEyeError, UsageError
from mindeye.weights.complete import check_folder
from mindeye.weights.hub import Hub, RemoteFile, chosen_files
from mindeye.weights.names import Request, requests_of
from mindeye.weights.record import Facts, read_record, write_record
from mindeye.weights.rewrite import rewrite_pickle
from mindeye.weights.table import Model, pickle_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class FetchModelsConfig:
    """What `mindeye fetch models` is asked for, beside the names.

    Parameters
    ----------
    root
        Folder that gets one folder a model, ORG--NAME; name it to runs by weights=DIR.
    dry_run
        Only list models, sizes and licences, without any connection.
    allow_pickles
        Also download weights that exist as pickles alone, and rewrite them as safetensors.
    endpoint
        Address of a mirror of the hub; empty for HF_ENDPOINT, else huggingface.co.
    revision
        Commit, tag or branch instead of the table's; for a single model.
    timeout
        Seconds that the hub may take to answer.
    """

    root: Path
    dry_run: bool = False
    allow_pickles: bool = False
    endpoint: str = ""
    revision: str = ""
    timeout: int = 10

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if self.endpoint and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise UsageError(
                f"--endpoint {self.endpoint!r} is no address of a server; write https://HOST, or "
                "leave it out for huggingface.co"
            )
        if self.timeout < 1:
            raise UsageError(f"--timeout {self.timeout}: at least 1 second is needed")
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"--root {self.root} is no folder; name one")


@dataclass(frozen=True)
class Planned:
    """What is to be downloaded of one model, and which of its settings the hub does not have."""

    request: Request
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]
    absent: tuple[str, ...]


def fetch_models(names: Sequence[str], config: FetchModelsConfig, *, tell: Tell) -> list[Path]:
    """List the models that names stand for, then download what is missing.

    Parameters
    ----------
    names
        Presets, own .yaml files, hub ids of the table, or folders and files inside those.
    config
        Where to, and how.
    tell
        Gets each line of the list and of the result.

    Returns
    -------
    list of Path
        The models' folders; none in a dry run.

    Raises
    ------
    ConfigError
        If a name is not known.
    UsageError
        If options contradict the names.
    HubError
        If the hub cannot be reached, refuses, or lacks a model or revision.
    CheckpointError
        If a model exists as a pickle alone and that is not allowed, or came damaged.
    MindEyeError
        If the disk is full.
    """
    requests, local = requests_of(names)
    if config.revision and len(requests) != 1:
        raise UsageError(
            f"--revision is for one model, these are {len(requests)}; name one by its hub id"
        )
    _tell_list(requests, local, config, tell)
    if config.dry_run:
        tell("nothing was downloaded")
        return []
    try:
        return _fetch(requests, config, tell)
    except OSError as error:
        raise MindEyeError(f"cannot use --root {config.root}: {error}") from error


def _fetch(requests: Sequence[Request], config: FetchModelsConfig, tell: Tell) -> list[Path]:
    """Ask the hub for everything first, so that what is refused is so before the first byte."""
    hub = Hub(config.endpoint, config.timeout)
    missing = [r for r in requests if not _present(r, config)]
    plans = [_planned(hub, request, config) for request in missing]
    _check_space(plans, config.root)
    for plan in plans:
        _download(hub, plan, config, tell)
    folders = [folder_of(request.model, config.root) for request in requests]
    for request in requests:
        if request not in missing:
            tell(f"{request.model.id} is here already")
    tell(f"all complete; use them with weights={config.root} or MINDEYE_WEIGHTS={config.root}")
    return folders


def folder_of(model: Model, root: Path) -> Path:
    """Return where a model is put below the root."""
    return root / model.id.replace("/", "--")


def _present(request: Request, config: FetchModelsConfig) -> bool:
    """Whether a model was fetched before at the revision that is asked for, and is whole."""
    folder = folder_of(request.model, config.root)
    record = read_record(folder)
    asked = config.revision or request.model.revision
    if asked not in (record.get("revision"), record.get("commit")):
        return False
    try:
        for part in request.parts:
            check_folder(folder, model=request.model, inside=part)
    except CheckpointError:
        return False
    return True


def _planned(hub: Hub, request: Request, config: FetchModelsConfig) -> Planned:
    """Ask the hub what a model's revision has and choose from it."""
    model = request.model
    revision = config.revision or model.revision
    commit, licence, found = hub.files(model, revision)
    files: list[RemoteFile] = []
    for wanted in request.weights:
        try:
            files += chosen_files(wanted, found, allow_pickles=config.allow_pickles)
        except CheckpointError as error:
            raise CheckpointError(f"{model.id} at {revision}: {error}") from error
    hub.knock(model, commit, files[0])
    files += [found[name] for name in model.settings if name in found]
    absent = tuple(name for name in model.settings if name not in found)
    return Planned(request, commit, licence, tuple(files), absent)


def _check_space(plans: Sequence[Planned], root: Path) -> None:
    """Refuse what does not fit before it begins."""
    needed = 0
    for plan in plans:
        folder = folder_of(plan.request.model, root)
        for file in plan.files:
            here = folder / file.path
            needed += 0 if here.is_file() and here.stat().st_size == file.size else file.size
    existing = next(p for p in (root.absolute(), *root.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise MindEyeError(
            f"the disk of {existing} has {_bytes(free)} free but {_bytes(needed)} are to come; "
            "free some or choose another --root"
        )


def _download(hub: Hub, plan: Planned, config: FetchModelsConfig, tell: Tell) -> None:
    """Download one model's files, rewrite pickles, and write the record last."""
    from huggingface_hub.utils import disable_progress_bars

    if os.environ.get("MINDEYE_PROGRESS") == "0":
        disable_progress_bars()
    model, revision = plan.request.model, config.revision or plan.request.model.revision
    folder = folder_of(model, config.root)
    before = read_record(folder)
    kept = before.get("files", []) if before.get("commit") == plan.commit else []
    done = [str(name) for name in kept]
    rewritten = {pickle_of(w.path): w.path for w in plan.request.weights}
    for file in plan.files:
        safe = rewritten.get(file.path, file.path)
        if safe != file.path and safe in done and (folder / safe).is_file():
            continue
        path = hub.download(model, plan.commit, file, folder)
        if safe != file.path:
            rewrite_pickle(path, folder / safe)
        done.append(safe)
        # After each file: a rewritten one cannot be told from another revision's otherwise.
        facts = Facts(revision, plan.commit, plan.licence or model.licence)
        write_record(folder, model, facts, files=done, absent=plan.absent)
    for name in plan.absent:
        tell(f"{model.id} has no {name} at this revision")
    for part in plan.request.parts:
        check_folder(folder, model=model, inside=part)
    total = _bytes(sum(file.size for file in plan.files))
    licence = plan.licence or model.licence
    tell(f"{model.id}: {total}, commit {plan.commit[:12]}, licence {licence} -> {folder}")


def _tell_list(
    requests: Sequence[Request], local: Sequence[str], config: FetchModelsConfig, tell: Tell
) -> None:
    """List models, about how large they are, revisions and licences."""
    for name in local:
        tell(f"  local folder, nothing to fetch: {name}")
    total = 0
    for request in requests:
        model = request.model
        size = sum(file.about for file in request.weights)
        total += size
        revision = config.revision or model.revision
        what = "" if request.parts == ("",) else f" ({', '.join(request.parts)})"
        tell(f"  about {_bytes(size):>7}  {model.id}{what} at {revision}")
        tell(f"                 {model.use}; licence: {model.licence}")
        if model.format == "pickle" and not config.allow_pickles:
            tell("                 published as pickles: needs --allow-pickles")
    tell(f"{len(requests)} model{'' if len(requests) == 1 else 's'}, about {_bytes(total)}")


def _bytes(number: int) -> str:
    """Write bytes as people read them, in powers of 1000 as disks are sold."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} TB"
