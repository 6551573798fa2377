"""Predicted embeddings of the test stimuli, written for generators that are not part of mindeye.

::

    DIR/samples.npy         (S * n, K, D) float32, stimulus-major: what the run draws from
        samples_pooled.npy  (S * n, D) their class tokens, where there are other tokens beside them
        backbone.npy        (S, K, D) float32, the prior's condition
        contrastive.npy     (S, K, D) float32, what retrieval compares and the brain picks by
        pooled.npy          (S, D) class tokens of `contrastive`
        latents.npy         (S, C, h, w) float32, low-level latents in the autoencoder's units
        embeddings.parquet  one row a row of `samples.npy`
        embeddings.json     what all of it is; written last, the export counts only with it

Every array opens memory-mapped: ``numpy.load(path, mmap_mode="r")``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.arrays import array_writer
from mindeye.config.fingerprints import config_hash
from mindeye.decoding.prediction import Prediction
from mindeye.errors import CheckpointError, DataError, MissingDependencyError
from mindeye.files import (
    atomic_path,
    open_array,
    provenance,
    read_json,
    stage_done,
    write_array,
    write_json,
)
from mindeye.generation.reconstruct import candidate_seeds
from mindeye.progress import track
from mindeye.runs.pipeline import stage_keys
from mindeye.runs.workspace import Workspace
from mindeye.targets.encoders import Encoder

DESCRIPTION = "embeddings.json"
TABLE = "embeddings.parquet"
FORMAT = "mindeye embeddings 1"

PRIOR_BATCH = 128
"""Samples that `sample_prior` draws at once; blocks end where its batches do."""


@dataclasses.dataclass(frozen=True)
class ExportEmbeddingsConfig:
    """How many embeddings are written.

    Parameters
    ----------
    candidates
        Prior samples a stimulus; 0 for as many as the run draws pictures of.
    stimuli
        Number of test stimuli, the first ones; 0 for all of them.
    """

    candidates: int = 0
    stimuli: int = 0

    def __post_init__(self) -> None:
        for name in ("candidates", "stimuli"):
            if getattr(self, name) < 0:
                raise DataError(f"{name} is {getattr(self, name)}; give 0 or more")


def export_embeddings(
    work: Workspace, folder: Path, config: ExportEmbeddingsConfig | None = None
) -> dict[str, Any]:
    """Write a run's predicted embeddings; a call that was cut off goes on where it stopped.

    Samples have the seeds that the stage ``reconstruct`` draws with, so that the first
    `reconstruct.candidates` of a stimulus are the ones its pictures were drawn from.

    Parameters
    ----------
    work
        A run whose stage ``predict`` is done.
    folder
        Folder to write: new, empty, or of an earlier call.
    config
        How many embeddings are written; by default as many as the run draws pictures of.

    Returns
    -------
    dict
        What ``embeddings.json`` holds.

    Raises
    ------
    CheckpointError
        If the run predicts no embeddings, or has not come that far.
    DataError
        If the folder holds something else, or a prediction is not finite.
    MissingDependencyError
        If pyarrow is not installed.
    """
    _need_pyarrow()
    config = config or ExportEmbeddingsConfig()
    if not work.config.high_enabled:
        raise CheckpointError(f"{work.folder} predicts no embeddings (high_enabled=false)")
    keys = stage_keys(work)
    if not stage_done(work.folder / "predict", keys["predict"]):
        raise CheckpointError(
            f"{work.folder} has no predictions yet; run `mindeye predict {work.folder}` first"
        )
    draws = config.candidates or work.config.reconstruct.candidates
    ids = work.test_ids[: config.stimuli or None]
    prior = work.config.high.prior
    key = config_hash(FORMAT, keys["predict"], prior, draws, ids, work.config.seed)
    _claim(folder, key)
    if (folder / DESCRIPTION).is_file():
        return _described(folder)
    seeds = candidate_seeds(work.config.seed, len(ids), draws, purpose=1)
    _write_predictions(work, folder, len(ids))
    _write_samples(work, folder, seeds, draws, key)
    if has_pooled(work.encoder):
        samples = open_array(folder / "samples.npy", "export again")
        write_array(folder / "samples_pooled.npy", np.ascontiguousarray(samples[:, 0]))
    _write_table(work, folder, ids, seeds)
    content = _description(work, folder, draws, len(ids), keys)
    (folder / ".export.json").unlink()
    write_json(folder / DESCRIPTION, {**content, "key": key})
    return _described(folder)


def has_pooled(encoder: Encoder) -> bool:
    """Tell whether token 0 stands for a picture and other tokens come after it."""
    return encoder.has_class_token and encoder.tokens > 1


def _need_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "parquet") from error


def _described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(folder / DESCRIPTION)
    return content


def _claim(folder: Path, key: str) -> None:
    """Mark a folder as one of this export.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    marker = next((p for n in (DESCRIPTION, ".export.json") if (p := folder / n).is_file()), None)
    if marker is not None:
        known = read_json(marker)
        if isinstance(known, dict) and known.get("key") == key:
            return
        raise DataError(
            f"{folder} holds embeddings of another run or number of candidates; give another --out"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty and no export of embeddings; give another --out")
    write_json(folder / ".export.json", {"key": key})


def _write_predictions(work: Workspace, folder: Path, count: int) -> None:
    """Copy what the stage ``predict`` left, and cut the class tokens out."""
    names = ["backbone", "contrastive", *(["latents"] if work.config.low_enabled else [])]
    for name in names:
        array = _prediction(work, name)[:count]
        _refuse_infinite(array, work.folder / "predict" / f"{name}.npy")
        write_array(folder / f"{name}.npy", np.asarray(array, dtype=np.float32))
        if name == "contrastive" and has_pooled(work.encoder):
            write_array(folder / "pooled.npy", np.array(array[:, 0], dtype=np.float32))


def _prediction(work: Workspace, name: str) -> NDArray[np.float32]:
    path = work.folder / "predict" / f"{name}.npy"
    return open_array(path, f"run `mindeye predict {work.folder}` again")


def _refuse_infinite(array: NDArray[Any], path: Path, first: int = 0) -> None:
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise DataError(f"{path}, row {first + int(bad.argmax())}: a value is not finite")


def _blocks(work: Workspace, count: int, draws: int) -> Iterator[slice]:
    """Yield blocks of stimuli that are cut where the stage ``reconstruct`` cuts its batches.

    A sample can change in its last digit with the batch it is drawn in; these are the same.
    """
    size = PRIOR_BATCH // gcd(PRIOR_BATCH, draws)
    drawn = min(len(work.drawn_ids), count)
    for low, high in ((0, drawn), (drawn, count)):
        for start in range(low, high, size):
            yield slice(start, min(start + size, high))


def _write_samples(work: Workspace, folder: Path, seeds: list[int], draws: int, key: Any) -> None:
    """Sample the prior, some stimuli at a time; blocks that an earlier call left are kept."""
    path = folder / "samples.npy"
    if path.is_file():
        return
    backbone, brain = (_prediction(work, name) for name in ("backbone", "contrastive"))
    count = len(seeds) // draws
    blocks = list(_blocks(work, count, draws))
    # Blocks must be cut where an uninterrupted call cuts them.
    key = [key, PRIOR_BATCH]
    with array_writer(path, len(seeds), np.float32, key=key) as array:
        left = [b for b in blocks if b.start * draws >= array.done]
        for block in track(left, "export", total=len(blocks), done=len(blocks) - len(left)):
            part = Prediction(
                np.array(backbone[block]), np.array(brain[block]), work.test_ids[block]
            )
            chosen = seeds[block.start * draws : block.stop * draws]
            values = work.decoder.sample(part, chosen).numpy()
            _refuse_infinite(values, path, block.start * draws)
            array.append(values)
            array.keep()


def _write_table(work: Workspace, folder: Path, ids: list[str], seeds: list[int]) -> None:
    """Write what every row of `samples.npy` is; with one vector a row, or class tokens, those too.

    The column ``embedding`` is what tools for lists of vectors read.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    draws = len(seeds) // len(ids)
    stimuli = work.subject.stimuli.set_index("stimulus_id")
    captions: list[str | None] = [None] * len(ids)
    if "caption" in stimuli:
        captions = [c if isinstance(c, str) else None for c in stimuli["caption"].loc[ids]]
    each = np.repeat(np.arange(len(ids)), draws)
    columns: dict[str, Any] = {
        "stimulus_id": pa.array([ids[i] for i in each], pa.string()),
        "row": pa.array(np.arange(len(seeds)), pa.int64()),
        "stimulus": pa.array(each, pa.int64()),
        "split": pa.array(["test"] * len(seeds), pa.string()),
        "caption": pa.array([captions[i] for i in each], pa.string()),
        "candidate": pa.array(np.tile(np.arange(draws), len(ids)), pa.int64()),
        "seed": pa.array(seeds, pa.int64()),
    }
    pooled = folder / "samples_pooled.npy"
    if pooled.is_file() or work.encoder.tokens == 1:
        path = pooled if pooled.is_file() else folder / "samples.npy"
        vectors = open_array(path, "export again").reshape(len(seeds), -1)
        flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with atomic_path(folder / TABLE) as temporary:
        parquet.write_table(pa.table(columns), temporary)


def _description(
    work: Workspace, folder: Path, draws: int, count: int, keys: dict[str, str]
) -> dict[str, Any]:
    config, encoder, info = work.config, work.encoder, work.subject.info
    files = sorted(p.name for p in folder.iterdir() if p.suffix in (".npy", ".parquet"))
    prior = config.high.prior
    sampled = _sampled(prior.kind)
    return {
        "format": FORMAT,
        "stimuli": count,
        "candidates": draws,
        "encoder": {
            "name": config.targets.encoder,
            "id": encoder.id,
            "which": config.targets.tokens,
            "tokens": encoder.tokens,
            "width": encoder.width,
            "fingerprint": encoder.fingerprint,
        },
        "vae": {
            "name": config.targets.vae,
            "id": work.vae.id,
            "shape": list(work.vae.shape),
            "fingerprint": work.vae.fingerprint,
        },
        "normalisation": _normalisation(work, folder),
        "sampling": {
            "what": sampled,
            "prior": dataclasses.asdict(prior),
            "seed": config.seed,
            "precision": config.high.optim.precision,
            "same_as_pictures": draws >= config.reconstruct.candidates,
        },
        "run": {
            "folder": str(work.folder.resolve()),
            "config": config_hash(config),
            "stages": {name: keys[name] for name in ("predict", "reconstruct")},
            "subject": work.subject.fingerprint,
        },
        "data": {
            "source": info.get("source", "not stated"),
            "licence": info.get("licence", "not stated"),
        },
        "files": {n: _facts(folder / n) for n in files},
        **provenance(),
    }


def _sampled(kind: str) -> str:
    """Return how embeddings come about, in words."""
    if kind == "diffusion":
        return "samples of the diffusion prior, one a seed"
    return f"point estimates ({kind}), the same for every candidate"


def _facts(path: Path) -> dict[str, Any]:
    if path.suffix != ".npy":
        return {"bytes": path.stat().st_size}
    array = open_array(path, "export again")
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _normalisation(work: Workspace, folder: Path) -> dict[str, Any]:
    """Return the norms of vectors, of class tokens where there are any: of targets and samples.

    True embeddings are divided as the encoder's `normalisation` says (``class``: by the norm of the
    class token); predictions come as they are predicted and are not scaled afterwards.
    """
    rows = work.rows(work.test_ids)
    stored = work.embeddings("tokens")
    return {
        "divided_by": work.encoder.normalisation,
        "norms_are_of": "class token" if work.encoder.has_class_token else "token 0",
        "norms_of_true_embeddings": norms(np.asarray(stored[rows[:1000]])),
        "norms_of_samples": norms(open_array(folder / "samples.npy", "export again")),
    }


def norms(array: NDArray[Any]) -> dict[str, float]:
    """Return the least, the median and the greatest norm of token 0 of (N, K, D) or (N, D)."""
    first = array[:, 0] if array.ndim == 3 else array
    lengths = np.linalg.norm(np.asarray(first, dtype=np.float64), axis=-1)
    return {
        "least": float(lengths.min()),
        "median": float(np.median(lengths)),
        "greatest": float(lengths.max()),
    }
