"""Pictures of any embeddings: a file of vectors or tokens and a generator that takes them.

::

    DIR/NAME.png            one a row, or NAME_s0.png, NAME_s1.png ... with several candidates
        contact_sheet.png   the first of them side by side
        generate.json       from what, by what and how; written first, and again when all is drawn
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mindeye.commands.embedding_files import EmbeddingFile, read_embedding_file
from mindeye.config.fingerprints import config_hash
from mindeye.config.generate import GenerateConfig
from mindeye.config.targets import is_pixels
from mindeye.data.images import to_pictures
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import atomic_path, open_array, provenance, read_json, sha256, write_json
from mindeye.generation.generators import Generator, LatentGenerator, load_generator
from mindeye.generation.generators.base import OWN_AT_LEAST
from mindeye.processes import join_processes
from mindeye.progress import track
from mindeye.seeds import derive_seed
from mindeye.targets.autoencoders import Autoencoder, load_autoencoder
from mindeye.targets.encoders import Encoder, load_encoder

DESCRIPTION = "generate.json"
SHEET = "contact_sheet.png"
THUMBNAIL = 128
CHECKED_AT_ONCE = 256

NO_VAE = "pixels:64"
"""Stands in where nothing is started from and the generator decodes by itself."""

UNIT_NORMS = (0.25, 4.0)
"""Median norms of vectors that pass for predictions in a space of norm 1. Predictions shrink or
stretch; CLIP embeddings that were never divided have norms of ten and more."""


@dataclass(frozen=True)
class Start:
    """Latents that pictures start from.

    Parameters
    ----------
    latents
        (M, C, h, w), memory-mapped.
    rows
        (N,) the row of `latents` that belongs to each row of the embeddings.
    """

    latents: NDArray[Any]
    rows: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the latents of rows of the embeddings."""
        return torch.from_numpy(np.array(self.latents[self.rows[rows]], dtype=np.float32))


def generate(embeddings: Path, folder: Path, config: GenerateConfig) -> dict[str, Any]:
    """Draw a picture of every embedding; pictures that an earlier call left are kept.

    Parameters
    ----------
    embeddings
        .npy (N, K, D) or (N, D), .parquet with a column of lists, or a folder of
        `export_embeddings`.
    folder
        Where to; new, empty, or of an earlier call.
    config
        What is drawn, and how.

    Returns
    -------
    dict
        What ``generate.json`` holds.

    Raises
    ------
    DataError
        If a file is malformed, the embeddings do not fit the generator (rank, width, norm), or the
        folder holds something else.
    ConfigError
        If a model is unknown, or generator and encoder do not fit.
    UsageError
        If what the embeddings are of cannot be told.
    """
    _ = config.drawing  # refuses strengths and the like before files are read
    found = read_embedding_file(embeddings, column=config.column)
    norm = typical_norm(found.array, embeddings)
    config = _completed(config, found)
    device = join_processes(config.device).device
    encoder = load_encoder(
        config.encoder, device=device, tokens=_tokens(config.tokens), weights=config.root
    )
    _refuse_other_encoder(found, encoder, embeddings)
    generator, vae = _generator(config, encoder, norm, device)
    array = fitting(found.array, generator, norm, config, embeddings)
    start = _start(config, found, generator, vae)
    content = _content(embeddings, config, found, encoder)
    key = config_hash({k: v for k, v in content.items() if k != "embeddings"})
    _claim(folder, key, {**content, "key": key})
    jobs = _jobs(found, config)
    _draw(folder, generator, array, start, jobs, config.batch_size)
    _write_sheet(folder, [name for name, _, _ in jobs[: config.sheet]], config.candidates)
    content |= {"key": key, "pictures": len(jobs), "finished": True, **provenance()}
    write_json(folder / DESCRIPTION, content)
    return content


def _tokens(name: str) -> Literal["all", "pooled"]:
    return "pooled" if name == "pooled" else "all"


def _completed(config: GenerateConfig, found: EmbeddingFile) -> GenerateConfig:
    """Fill in what was not said: from the export, or the zoo's own for the zoo's generator."""
    stated = {part: found.description.get(part) or {} for part in ("encoder", "vae")}
    own = "zoo" if config.generator == "zoo" else ""
    encoder = config.encoder or str(stated["encoder"].get("name", own))
    if not encoder:
        raise UsageError(
            "whose embeddings are these? name their encoder with --encoder, as in a run's "
            "targets.encoder"
        )
    tokens = config.tokens or stated["encoder"].get("which")
    if tokens not in ("all", "pooled"):
        single = found.array.ndim == 2 or found.array.shape[1] == 1
        whole = config.generator == "zoo" or is_pixels(encoder)
        tokens = "pooled" if single and not whole else "all"
    vae = config.vae or str(stated["vae"].get("name", own))
    if not vae and config.start:
        raise UsageError("whose latents are those of --start? name their autoencoder with --vae")
    vae = vae or NO_VAE
    return dataclasses.replace(config, encoder=encoder, tokens=tokens, vae=vae)


def _refuse_other_encoder(found: EmbeddingFile, encoder: Encoder, path: Path) -> None:
    known = found.description.get("encoder") or {}
    if known and (known.get("id"), known.get("width")) != (encoder.id, encoder.width):
        raise DataError(
            f"{path} holds embeddings of {known.get('id')}, --encoder names {encoder.id}; leave "
            "--encoder out"
        )


def _generator(
    config: GenerateConfig, encoder: Encoder, norm: float, device: torch.device
) -> tuple[Generator, Autoencoder]:
    vae = load_autoencoder(config.vae, device=device, weights=config.root)
    drawing = config.drawing
    # Embeddings that have their own norm are drawn at it; it need not be known beforehand.
    kept = not config.norm and norm >= OWN_AT_LEAST
    if kept:
        drawing = dataclasses.replace(drawing, norm=norm)
    generator = load_generator(
        config.generator, encoder, vae, config=drawing, device=device, weights=config.root
    )
    if generator is None:
        raise ConfigError(f"--generator {config.generator} draws nothing; name a generator")
    if kept and isinstance(generator, LatentGenerator):
        generator.config = dataclasses.replace(generator.config, norm=0.0)
    return generator, vae


def typical_norm(array: NDArray[Any], path: Path) -> float:
    """Return the median norm of the first tokens of (N, K, D), or of vectors (N, D).

    Raises
    ------
    DataError
        If a value is not finite, or a vector is zero; names the file and the row.
    """
    lengths = []
    for first in range(0, len(array), CHECKED_AT_ONCE):
        block = np.asarray(array[first : first + CHECKED_AT_ONCE], dtype=np.float64)
        bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if bad.any():
            raise DataError(f"{path}, row {first + int(bad.argmax())}: a value is not finite")
        empty = ~block.reshape(len(block), -1).any(axis=1)
        if empty.any():
            raise DataError(f"{path}, row {first + int(empty.argmax())}: all values are zero")
        lengths.append(np.linalg.norm(block[:, 0] if block.ndim == 3 else block, axis=-1))
    return float(np.median(np.concatenate(lengths)))


def fitting(
    array: NDArray[Any], generator: Generator, norm: float, config: GenerateConfig, path: Path
) -> NDArray[Any]:
    """Return embeddings as (N, K, D), or refuse what the generator would turn into nonsense.

    Parameters
    ----------
    array
        (N, K, D), or (N, D) of one token each.
    generator
        What is to draw them.
    norm
        Median norm of their first tokens.
    config
        Configuration with the generator's name, and the norm that embeddings are scaled to.
    path
        The file.

    Raises
    ------
    DataError
        If rank, number of tokens or width differ, or vectors of norm 1 are taken and these have
        none of that order; names what is there and what is taken.
    """
    shaped = array[:, None] if array.ndim == 2 else array
    space = generator.space
    if not space.takes(*shaped.shape[1:]):
        shape = " x ".join(str(n) for n in array.shape[1:])
        raise DataError(
            f"{path} holds embeddings of {shape}, the generator {config.generator} takes {space}; "
            "give a file of that space, or a generator of this one"
        )
    low, high = UNIT_NORMS
    if space.norm == "unit" and not config.norm and not low <= norm <= high:
        raise DataError(
            f"{path}: first tokens have a median norm of {norm:.4g}, the generator "
            f"{config.generator} takes {space} divided by it, so that it is 1; divide every "
            "embedding by the norm of its first token, or give --norm 1"
        )
    return shaped


def _start(
    config: GenerateConfig, found: EmbeddingFile, generator: Generator, vae: Autoencoder
) -> Start | None:
    """Open the latents that pictures start from, one a row of embeddings."""
    if not config.start:
        return None
    path = Path(config.start)
    if not generator.uses_start:
        raise ConfigError(f"the generator {config.generator} starts from nothing; drop --start")
    latents = open_array(path, "give latents (N, C, h, w)")
    shape = vae.shape
    stimuli = int(found.stimulus.max()) + 1
    if latents.dtype.kind != "f" or latents.shape[1:] != shape:
        raise DataError(
            f"{path} holds {latents.dtype} of shape {latents.shape}; the autoencoder {vae.id} has "
            f"latents (N, {', '.join(map(str, shape))}) of floats"
        )
    if len(latents) not in (len(found.array), stimuli):
        raise DataError(
            f"{path} has {len(latents)} latents, the embeddings have {len(found.array)} rows of "
            f"{stimuli} stimuli; give one a row or one a stimulus"
        )
    bad = ~np.isfinite(latents).reshape(len(latents), -1).all(axis=1)
    if bad.any():
        raise DataError(f"{path}, row {int(bad.argmax())}: a value is not finite")
    each = np.arange(len(found.array)) if len(latents) == len(found.array) else found.stimulus
    return Start(latents, each)


Job = tuple[str, int, int]
"""Name of a picture, its row, its seed."""


def _jobs(found: EmbeddingFile, config: GenerateConfig) -> list[Job]:
    """Return every picture that is to be; its seed does not change with what else is drawn."""
    jobs = []
    for row, name in enumerate(found.names):
        for candidate in range(config.candidates):
            if config.seed == -1 and found.seeds is not None:
                own = found.seeds[row]
                seed = own if candidate == 0 else derive_seed(abs(own), candidate) % 2**62
            else:
                seed = derive_seed(max(config.seed, 0), row, candidate) % 2**62
            jobs.append((name if config.candidates == 1 else f"{name}_s{candidate}", row, seed))
    return jobs


def _draw(
    folder: Path,
    generator: Generator,
    array: NDArray[Any],
    start: Start | None,
    jobs: list[Job],
    batch_size: int,
) -> None:
    """Draw the pictures that are not there yet, some at a time."""
    left = [job for job in jobs if not (folder / f"{job[0]}.png").is_file()]
    done = len(jobs) - len(left)
    blocks = [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
    for block in track(blocks, "generate", total=ceil(len(jobs) / batch_size),
                       done=done // batch_size):  # fmt: skip
        rows = np.array([row for _, row, _ in block])
        tokens = torch.from_numpy(np.array(array[rows], dtype=np.float32))
        images = generator.generate(
            tokens,
            seeds=[seed for _, _, seed in block],
            start=None if start is None else start.take(rows),
        )
        for (name, _, _), picture in zip(block, to_pictures(images), strict=True):
            with atomic_path(folder / f"{name}.png") as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")


def _content(
    path: Path, config: GenerateConfig, found: EmbeddingFile, encoder: Encoder
) -> dict[str, Any]:
    """Return what decides the pictures."""
    given = {
        k: v
        for k, v in dataclasses.asdict(config).items()
        if k not in ("batch_size", "device", "sheet")
    }
    return {
        "embeddings": str(path.resolve()),
        "content": found.digest,
        "rows": len(found.array),
        "start": sha256(Path(config.start)) if config.start else None,
        "settings": given,
        "encoder": {"id": encoder.id, "fingerprint": encoder.fingerprint},
        "embedded_by": found.description.get("encoder"),
        "data": found.description.get("data"),
        "seeds": "of the file" if config.seed == -1 and found.seeds else max(config.seed, 0),
    }


def _claim(folder: Path, key: str, content: dict[str, Any]) -> None:
    """Mark a folder as one of these pictures.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    path = folder / DESCRIPTION
    if path.is_file():
        known = read_json(path)
        if not isinstance(known, dict) or known.get("key") != key:
            raise DataError(
                f"{folder} holds pictures of other embeddings or settings; give another --out"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty and holds no {DESCRIPTION}; give another --out")
    write_json(path, {**content, "finished": False})


def _write_sheet(folder: Path, names: list[str], candidates: int) -> None:
    """Put pictures side by side, a row an embedding where there are several of each."""
    columns = candidates if candidates > 1 else ceil(sqrt(len(names)))
    sheet: Image.Image | None = None
    for number, name in enumerate(names):
        with Image.open(folder / f"{name}.png") as picture:
            side = min(THUMBNAIL, picture.width)
            small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        if sheet is None:
            height = ceil(len(names) / columns)
            sheet = Image.new("RGB", (columns * (side + 2), height * (side + 2)), "white")
        row, column = divmod(number, columns)
        sheet.paste(small, (column * (side + 2), row * (side + 2)))
    if sheet is not None:
        with atomic_path(folder / SHEET) as temporary:
            sheet.save(temporary, format="PNG")
