"""Download the models that a preset names: sizes and licences first, then the files, checked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mindeye.errors import CheckpointError, MindEyeError, UsageError
from mindeye.files import atomic_path, write_json
from mindeye.weights.checks import bytes_text, check_address, check_root, check_space
from mindeye.weights.complete import check_file, check_folder
from mindeye.weights.hub import Hub, HubFile, Listing, chosen_files
from mindeye.weights.names import Request, requests_of
from mindeye.weights.record import RECORD, read_record
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
        check_address("--endpoint", self.endpoint, "huggingface.co")
        if self.timeout < 1:
            raise UsageError(f"--timeout {self.timeout}: at least 1 second is needed")
        check_root("--root", self.root)

    def revision_of(self, model: Model) -> str:
        """Commit, tag or branch of a model that is asked for."""
        return self.revision or model.revision

    def folder_of(self, model: Model) -> Path:
        """Folder that a model is put into."""
        return self.root / model.id.replace("/", "--")


@dataclass(frozen=True)
class Planned:
    """What is to be downloaded of one model, and which of its settings the hub does not have."""

    request: Request
    listing: Listing
    files: tuple[HubFile, ...]
    absent: tuple[str, ...]


def fetch_models(names: Sequence[str], config: FetchModelsConfig, *, tell: Tell) -> list[Path]:
    """List the models that names stand for, then download what is missing.

    Parameters
    ----------
    names
        Presets, .yaml files of the user, hub ids of the table, or folders and files inside those.
    config
        Where to, and how.
    tell
        Function that gets each line of the list and of the result.

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
    for name in local:
        tell(f"  local folder, nothing to fetch: {name}")
    _tell_list(requests, config, tell)
    if config.dry_run:
        tell("nothing was downloaded")
        return []
    try:
        _fetch(requests, config, tell)
    except OSError as error:
        raise MindEyeError(f"cannot use --root {config.root}: {error}") from error
    return [config.folder_of(request.model) for request in requests]


def _tell_list(requests: Sequence[Request], config: FetchModelsConfig, tell: Tell) -> None:
    """List models, about how large they are, revisions and licences."""
    total = 0
    for request in requests:
        model = request.model
        size = sum(file.about for file in request.weights)
        total += size
        what = "" if request.parts == ("",) else f" ({', '.join(request.parts)})"
        tell(f"  about {bytes_text(size):>7}  {model.id}{what} at {config.revision_of(model)}")
        tell(f"                 {model.use}; licence: {model.licence}")
        if model.format == "pickle" and not config.allow_pickles:
            tell("                 published as pickles: needs --allow-pickles")
    tell(f"{len(requests)} model{'' if len(requests) == 1 else 's'}, about {bytes_text(total)}")


def _fetch(requests: Sequence[Request], config: FetchModelsConfig, tell: Tell) -> None:
    """Ask the hub for everything first, so that what is refused is so before the first byte."""
    from huggingface_hub.utils import disable_progress_bars

    if os.environ.get("MINDEYE_PROGRESS") == "0":
        disable_progress_bars()
    hub = Hub(config.endpoint, config.timeout)
    missing = [request for request in requests if not _present(request, config)]
    plans = [_planned(hub, request, config) for request in missing]
    needed: dict[Path, int] = {}
    for plan in plans:
        for file in plan.files:
            target = config.folder_of(plan.request.model) / file.path
            here = target.is_file() and target.stat().st_size == file.size
            needed[target] = 0 if here else file.size
    check_space(needed, "choose another --root")
    for plan in plans:
        _download(hub, plan, config, tell)
    for request in requests:
        if request not in missing:
            tell(f"{request.model.id} is here already")
    tell(f"all complete; use them with weights={config.root} or MINDEYE_WEIGHTS={config.root}")


def _present(request: Request, config: FetchModelsConfig) -> bool:
    """Whether a model was fetched before at the revision that is asked for, and is whole."""
    folder = config.folder_of(request.model)
    record = read_record(folder)
    if config.revision_of(request.model) not in (record.get("revision"), record.get("commit")):
        return False
    try:
        for part in request.parts:
            check_folder(folder, model=request.model, inside=part)
    except CheckpointError:
        return False
    return True


def _planned(hub: Hub, request: Request, config: FetchModelsConfig) -> Planned:
    """Ask the hub what a model's revision has and choose from it."""
    model, revision = request.model, config.revision_of(request.model)
    listing = hub.listing(model, revision)
    files: list[HubFile] = []
    for wanted in request.weights:
        try:
            files += chosen_files(wanted, listing.files, allow_pickles=config.allow_pickles)
        except CheckpointError as error:
            raise CheckpointError(f"{model.id} at {revision}: {error}") from error
    hub.check_access(model, listing.commit, files[0])
    files += [listing.files[name] for name in model.settings if name in listing.files]
    absent = tuple(name for name in model.settings if name not in listing.files)
    return Planned(request, listing, tuple(files), absent)


def _download(hub: Hub, plan: Planned, config: FetchModelsConfig, tell: Tell) -> None:
    """Download one model's files, rewrite pickles, and keep the record of what is here."""
    model, commit = plan.request.model, plan.listing.commit
    folder, licence = config.folder_of(model), plan.listing.licence or model.licence
    before = read_record(folder)
    done = set(before.get("files", [])) if before.get("commit") == commit else set()
    rewritten = {pickle_of(w.path): w.path for w in plan.request.weights}
    for file in plan.files:
        safe = rewritten.get(file.path, file.path)
        if safe != file.path and safe in done and (folder / safe).is_file():
            continue
        path = hub.download(model, commit, file, folder)
        if safe != file.path:
            _rewrite(path, folder / safe)
        done.add(safe)
        # After each file: a rewritten one cannot be told from another revision's otherwise.
        facts = {"revision": config.revision_of(model), "commit": commit, "licence": licence}
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        files = {"files": sorted(done), "absent": list(plan.absent)}
        write_json(folder / RECORD, {"id": model.id, **facts, **files, "date": date})
    for name in plan.absent:
        tell(f"{model.id} has no {name} at this revision")
    for part in plan.request.parts:
        check_folder(folder, model=model, inside=part)
    total = bytes_text(sum(file.size for file in plan.files))
    tell(f"{model.id}: {total}, commit {commit[:12]}, licence {licence} -> {folder}")


def _rewrite(pickled: Path, target: Path) -> None:
    """Read a pickled state dict, tensors and plain containers alone, and write safetensors.

    Nothing in the pickle is executed (`torch.load(weights_only=True)`), and it is deleted
    afterwards, so that no run ever loads one; tensors keep names, shapes and types. A file that is
    torn, or holds anything but tensors by name, is a `CheckpointError`.
    """
    import torch
    from safetensors.torch import save_file

    check_file(pickled, allow_pickles=True)
    try:
        state = torch.load(pickled, map_location="cpu", weights_only=True, mmap=True)
        state = state.get("state_dict", state)
        # Tensors that share memory are not allowed in safetensors.
        tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
        if not tensors or not all(isinstance(name, str) for name in tensors):
            raise ValueError("no tensors by name")
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{pickled} is no plain file of tensors ({reason}); it is not loaded: delete it, and "
            "fetch again if it is torn"
        ) from error
    with atomic_path(target) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    check_file(target)
    pickled.unlink()
