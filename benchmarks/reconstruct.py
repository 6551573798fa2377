"""Pictures a second: many brains in one batch beside the published way, one brain at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.command import reported, run_benchmark
from benchmarks.timing import finish_device_work, machine, quiet
from mindeye.commands.embedding_files import read_embedding_file
from mindeye.config.results import ReconstructConfig
from mindeye.errors import UsageError
from mindeye.files import open_array, provenance
from mindeye.generation.generators import LatentGenerator, load_generator
from mindeye.generation.reconstruct import draw_candidates, pick_by_brain
from mindeye.processes import join_processes
from mindeye.progress import track
from mindeye.seeds import derive_seed
from mindeye.targets.autoencoders import load_autoencoder
from mindeye.targets.encoders import Encoder, load_encoder

WANTED_SPEED = 4.0
"""Pictures a second, in units of one picture at a time, that are asked for."""

SAME = 1e-5
"""Largest difference of a pixel in [0, 1] between pictures that count as the same."""

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Way:
    """A way to draw n candidates of many brains.

    Parameters
    ----------
    name, what
        Shown in tables.
    precision
        Of the generator.
    at_once
        Pictures in a batch: one, the candidates of one brain, or the bench's batch.
    embedded_at_once
        Candidates that are embedded together to pick one: one, or the bench's batch.
    through_pixels
        Decode the low-level latents and encode them again, as the published code does.
    """

    name: str
    what: str
    precision: Precision
    at_once: Literal["picture", "brain", "batch"]
    embedded_at_once: Literal["picture", "batch"] = "batch"
    through_pixels: bool = False


OURS, SINGLE, PUBLISHED = "batched", "one at a time", "published code's way"
FLOAT, FLOAT_SINGLE = "batched, float32", "one at a time, float32"

WAYS = (
    Way(PUBLISHED, "candidates of one brain a call, float32, start decoded and encoded, "
        "candidates embedded singly", "fp32", "brain", "picture", True),
    Way(FLOAT_SINGLE, "one picture a call, float32", "fp32", "picture", "picture"),
    Way(FLOAT, "many brains a call, float32", "fp32", "batch"),
    Way(SINGLE, "one picture a call, bf16 products", "bf16", "picture", "picture"),
    Way(OURS, "many brains a call, bf16 products: the default", "bf16", "batch"),
)  # fmt: skip
SAME_PICTURES = {OURS: SINGLE, FLOAT: FLOAT_SINGLE}
"""Ways that differ in the batch alone, so that their pictures must be the same."""


@dataclass(frozen=True)
class ReconstructBench:
    """What is measured.

    Parameters
    ----------
    embeddings
        File or export to draw, None for random tokens of norm 1.
    generator, encoder, vae
        As in a run's targets.
    brains, candidates
        Pictures drawn: so many times so many.
    batch_size
        Pictures in a batch.
    steps, guidance, strength
        As in a run.
    seed
        Of tokens, latents and noise.
    device
        ``auto``, ``cpu``, ``cuda``.
    threads
        Of torch, 0 for its own choice.
    """

    embeddings: Path | None = None
    generator: str = "zoo"
    encoder: str = "zoo"
    vae: str = "zoo"
    brains: int = 300
    candidates: int = 4
    batch_size: int = 64
    steps: int = 12
    guidance: float = 2.0
    strength: float = 0.85
    seed: int = 0
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if min(self.brains, self.candidates, self.batch_size, self.steps) < 1:
            raise UsageError("brains, candidates, batch size and steps of the bench start at 1")

    @property
    def block(self) -> int:
        """Brains that every way draws before it is the next way's turn."""
        return max(1, self.batch_size // self.candidates)


@dataclass(frozen=True)
class Inputs:
    """What every way draws.

    Parameters
    ----------
    tokens
        (S * n, K, D), stimulus-major.
    start
        (S * n, C, h, w).
    brain
        (S, K, D), by which candidates are picked.
    seeds
        One a picture.
    """

    tokens: Tensor
    start: Tensor
    brain: Tensor
    seeds: list[int]


@dataclass
class Spent:
    """Seconds of a way, of its network alone, and its pictures."""

    seconds: list[float]
    network: float
    pictures: list[Tensor]


def bench_reconstruct(config: ReconstructBench) -> dict[str, Any]:
    """Draw the same candidates every way, in turns of a block of brains each.

    Returns
    -------
    dict
        Settings, machine, and by way: pictures a second, the share of time within the network,
        speed in units of one picture at a time and of the published code's way, and the largest
        difference of a pixel to the way that differs in the batch alone.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    facts = machine()
    device = join_processes(config.device).device
    encoder = load_encoder(config.encoder, device=device)
    generators = {way.name: _generator(way, config, encoder, device) for way in WAYS}
    inputs = _inputs(config, encoder, generators[OURS].vae.shape)
    spent = {way.name: Spent([], 0.0, []) for way in WAYS}
    blocks = range(0, config.brains, config.block)
    warm = slice(0, min(2, config.brains))
    with quiet():
        for way in WAYS:
            _draw(way, generators[way.name], encoder, inputs, warm, config)
    for first in track(blocks, "bench"):
        brains = slice(first, min(first + config.block, config.brains))
        with quiet():
            for way in WAYS:
                _take(way, generators[way.name], encoder, inputs, brains, config, spent[way.name])
    return {
        "bench": "reconstruct",
        **provenance(),
        "machine": {**facts, "load_after": machine()["load"]},
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()},
        "wanted": {"speed": WANTED_SPEED, "difference": SAME},
        "ways": _rows(spent, config.brains * config.candidates),
    }


def _generator(
    way: Way, config: ReconstructBench, encoder: Encoder, device: torch.device
) -> LatentGenerator:
    sizes = {"picture": 1, "brain": config.candidates, "batch": config.batch_size}
    drawing = ReconstructConfig(
        candidates=config.candidates, strength=config.strength, guidance=config.guidance,
        steps=config.steps, precision=way.precision, batch_size=sizes[way.at_once],
        start="image" if way.through_pixels else "auto",
    )  # fmt: skip
    vae = load_autoencoder(config.vae, device=device)
    generator = load_generator(config.generator, encoder, vae, config=drawing, device=device)
    if not isinstance(generator, LatentGenerator):
        raise UsageError(f"--generator {config.generator} samples nothing, so there is no speed")
    return generator


def _inputs(config: ReconstructBench, encoder: Encoder, latents: tuple[int, int, int]) -> Inputs:
    """Read or draw tokens and latents; candidates of random brains are near to each other."""
    count, rng = config.brains * config.candidates, torch.Generator().manual_seed(config.seed)
    if config.embeddings is not None:
        array = read_embedding_file(config.embeddings).array
        if len(array) < count:
            raise UsageError(
                f"{config.embeddings} has {len(array)} embeddings, {config.brains} brains x "
                f"{config.candidates} candidates take {count}"
            )
        tokens = torch.from_numpy(np.array(array[:count], dtype=np.float32))
    else:
        shape = (encoder.tokens, encoder.width)
        own = torch.randn(config.brains, 1, *shape, generator=rng)
        near = torch.randn(config.brains, config.candidates, *shape, generator=rng)
        tokens = (own + 0.5 * near).flatten(0, 1)
    tokens = tokens / tokens[:, :1].norm(dim=-1, keepdim=True)
    start = torch.randn(config.brains, *latents, generator=rng)
    beside = None if config.embeddings is None else config.embeddings / "latents.npy"
    if beside is not None and beside.is_file():
        kept = np.array(open_array(beside, "export again")[: config.brains], dtype=np.float32)
        start = torch.from_numpy(kept)
    return Inputs(
        tokens,
        start.repeat_interleave(config.candidates, dim=0),
        tokens[:: config.candidates],
        [derive_seed(config.seed, row) for row in range(count)],
    )


@contextmanager
def _network_time(generator: LatentGenerator) -> Iterator[list[float]]:
    """Collect the seconds of every call of the network."""
    calls: list[float] = []
    begun: list[float] = []

    def before(*_: object) -> None:
        finish_device_work()
        begun.append(time.perf_counter())

    def after(*_: object) -> None:
        finish_device_work()
        calls.append(time.perf_counter() - begun.pop())

    hooks = (
        generator.unet.register_forward_pre_hook(before),
        generator.unet.register_forward_hook(after),
    )
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _take(
    way: Way,
    generator: LatentGenerator,
    encoder: Encoder,
    inputs: Inputs,
    brains: slice,
    config: ReconstructBench,
    spent: Spent,
) -> None:
    with _network_time(generator) as calls:
        start = time.perf_counter()
        pictures = _draw(way, generator, encoder, inputs, brains, config)
        finish_device_work()
        spent.seconds.append(time.perf_counter() - start)
    spent.network += sum(calls)
    spent.pictures.append(pictures)


def _draw(
    way: Way,
    generator: LatentGenerator,
    encoder: Encoder,
    inputs: Inputs,
    brains: slice,
    config: ReconstructBench,
) -> Tensor:
    """Draw all candidates of some brains and pick one each; return the candidates."""
    draws = config.candidates
    rows = slice(brains.start * draws, brains.stop * draws)
    at_once = {"picture": 1, "brain": draws, "batch": config.batch_size}[way.at_once]
    images = draw_candidates(
        generator,
        inputs.tokens[rows],
        seeds=inputs.seeds[rows],
        start=inputs.start[rows],
        batch_size=at_once,
        name=way.name,
    )
    embedded = 1 if way.embedded_at_once == "picture" else config.batch_size
    pick_by_brain(images, inputs.brain[brains], encoder, candidates=draws, batch_size=embedded)
    return images


def _rows(spent: dict[str, Spent], pictures: int) -> dict[str, dict[str, Any]]:
    total = {name: sum(s.seconds) for name, s in spent.items()}
    rows = {}
    for way in WAYS:
        own, seconds = spent[way.name], total[way.name]
        rows[way.name] = {
            "what": way.what,
            "pictures_per_second": pictures / seconds,
            "milliseconds_a_picture": 1000 * seconds / pictures,
            "network_share": own.network / seconds,
            "speed_against_one_at_a_time": total[SINGLE] / seconds,
            "speed_against_published": total[PUBLISHED] / seconds,
            "seconds_of_blocks": own.seconds,
        }
        if way.name in SAME_PICTURES:
            like = SAME_PICTURES[way.name]
            pairs = zip(own.pictures, spent[like].pictures, strict=True)
            apart = [(a - b).abs() for a, b in pairs]
            rows[way.name] |= {
                "against": like,
                "speed": total[like] / seconds,
                "largest_difference": max(float(d.max()) for d in apart),
                "mean_difference": float(torch.cat(apart).mean()),
            }
    return rows


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    settings, facts = content["settings"], content["machine"]
    lines = [
        f"{settings['brains']} brains x {settings['candidates']} candidates, generator "
        f"{settings['generator']}, batches of {settings['batch_size']}, {settings['steps']} steps, "
        f"{facts['threads']} threads, load {facts['load']} to {facts['load_after']}",
        f"{'way':<24}{'ms/picture':>11}{'network':>9}{'vs one':>8}{'vs published':>13}"
        f"{'largest difference':>20}",
    ]
    for name, way in content["ways"].items():
        apart = f"{way['largest_difference']:.1e}" if "against" in way else "-"
        lines.append(
            f"{name:<24}{way['milliseconds_a_picture']:>11.1f}{way['network_share']:>8.0%} "
            f"{way['speed_against_one_at_a_time']:>7.2f}{way['speed_against_published']:>13.2f}"
            f"{apart:>20}"
        )
    lines.append(
        f"network: share of the time spent in it, the bound of what batching can gain; asked for: "
        f"{WANTED_SPEED:.0f} x one at a time, differences below {SAME:.0e}"
    )
    return "\n".join(lines)


def main(*, json: Path, bench: ReconstructBench) -> str:
    """Draw candidates of many brains in batches, one picture and one brain at a time.

    Time a picture, the network's share of it, and how far pictures differ.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.reconstruct --brains 96 --threads 2 --json reconstruct.json
    """
    return reported(bench_reconstruct(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
