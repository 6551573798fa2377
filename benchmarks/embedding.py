"""Training samples a second: embeddings out of the store beside an encoder in every epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.command import reported, run_benchmark
from benchmarks.timing import alternate, machine, quiet
from mindeye.config.settings import preset_content, run_config
from mindeye.data.dataset import Batch
from mindeye.data.images import to_images
from mindeye.errors import UsageError
from mindeye.files import provenance
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes
from mindeye.targets.encoders import load_encoder
from mindeye.targets.store import write_embeddings
from mindeye.targets.views import RecomputedTargets, StoredTargets, TargetSource
from mindeye.training.checkpoint import TrainingState
from mindeye.training.high import HighObjective
from mindeye.training.objective import Validation
from mindeye.training.optim import make_optimizer
from mindeye.training.step import TrainingStep

STORE, ENCODED, AUGMENTED = "store", "encoded every epoch", "augmented and encoded"
WAYS = {
    STORE: "rows of the memory-mapped store (targets.augmentation=none)",
    ENCODED: "the encoder's forward pass in every step, pictures as they are",
    AUGMENTED: "the published way: views drawn and encoded in every step "
    "(targets.augmentation=recomputed)",
}

PAPER_TOKENS, PAPER_WIDTH, PAPER_SIZE = 257, 768, 224
PAPER_LABEL = "CLIP ViT-L/14, 257 x 768, random weights: timing only"


@dataclass(frozen=True)
class EmbeddingBench:
    """What is measured.

    Parameters
    ----------
    encoder
        As in a run's targets.
    preset
        Of the training steps.
    pictures
        In the store.
    size
        Side of the pictures in pixels.
    voxels
        V of the training steps.
    batch_size
        Samples a step.
    steps
        Steps a timing.
    repetitions
        Timings a way, in turns.
    paper_size
        Also time targets alone with a full-size ViT-L/14, on `paper_pictures`.
    paper_pictures
        Samples of that.
    seed
        Of all that is drawn.
    device
        ``auto``, ``cpu``, ``cuda``.
    threads
        Of torch, 0 for its own choice.
    """

    encoder: str = "zoo"
    preset: str = "demo"
    pictures: int = 512
    size: int = 64
    voxels: int = 3000
    batch_size: int = 64
    steps: int = 4
    repetitions: int = 3
    paper_size: bool = False
    paper_pictures: int = 4
    seed: int = 0
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        numbers = (self.size, self.voxels, self.steps, self.repetitions, self.paper_pictures)
        if min(numbers) < 1 or self.batch_size < 2:
            raise UsageError("sizes and counts of the bench start at 1, the batch size at 2")
        if self.pictures < self.batch_size:
            raise UsageError(f"--pictures {self.pictures} do not fill a batch of {self.batch_size}")


def bench_embedding(config: EmbeddingBench) -> dict[str, Any]:
    """Time targets alone and whole training steps, every way in turns.

    Returns
    -------
    dict
        Settings, machine, and by way: samples a second of targets alone and of training, and the
        store's speed in units of the way's.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    facts, processes = machine(), join_processes(config.device)
    with tempfile.TemporaryDirectory(prefix="mindeye-embedding-") as folder, quiet():
        sources, sizes = _sources(config, processes.device, Path(folder))
        alone = _timed({n: partial(_targets_only, s, config) for n, s in sources.items()}, config)
        steps = {n: _trainer(s, sizes, config, processes) for n, s in sources.items()}
        trained = _timed(steps, config)
        paper = _paper(config, processes.device, Path(folder)) if config.paper_size else None
    samples = config.steps * config.batch_size
    return {
        "bench": "embedding",
        **provenance(),
        "machine": {**facts, "load_after": machine()["load"]},
        "settings": asdict(config),
        "targets_alone": _rows(alone, samples),
        "training": _rows(trained, samples),
        "paper_size": paper,
    }


def _timed(
    jobs: Mapping[str, Callable[[], object]], config: EmbeddingBench
) -> dict[str, list[float]]:
    return alternate(jobs, config.repetitions)


def _rows(taken: dict[str, list[float]], samples: int) -> dict[str, dict[str, Any]]:
    middle = {name: median(seconds) for name, seconds in taken.items()}
    return {
        name: {
            "what": WAYS[name],
            "samples_per_second": samples / middle[name],
            "store_is_faster": middle[name] / middle[STORE],
            "seconds": taken[name],
        }
        for name in taken
    }


def made_pictures(count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return smooth random pictures (count, size, size, 3)."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return np.asarray((smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


class _Encoded:
    """Targets of pictures as they are, encoded at every step."""

    def __init__(self, encode: Callable[[Tensor], Tensor], pictures: NDArray[np.uint8]) -> None:
        self.encode, self.pictures = encode, pictures

    def __call__(self, rows: Tensor, *, rng: torch.Generator) -> Tensor:
        """Return targets (N, K, D)."""
        return self.encode(to_images(self.pictures[rows.numpy()])).float().cpu().clone()


def _three(
    encode: Callable[[Tensor], Tensor],
    pictures: NDArray[np.uint8],
    size: int,
    folder: Path,
    batch_size: int,
) -> dict[str, TargetSource]:
    """Return every way to targets of the same pictures; the store is written and warm."""
    stored = write_embeddings(
        folder, "tokens", encode, pictures, fingerprint="bench", batch_size=batch_size
    )
    return {
        STORE: StoredTargets([stored]),
        ENCODED: _Encoded(encode, pictures),
        AUGMENTED: RecomputedTargets(encode, pictures, size=size),
    }


def _sources(
    config: EmbeddingBench, device: torch.device, folder: Path
) -> tuple[dict[str, TargetSource], Sizes]:
    encoder = load_encoder(config.encoder, device=device)
    pictures = made_pictures(config.pictures, config.size, config.seed)
    sources = _three(encoder.encode, pictures, encoder.size, folder, config.batch_size)
    return sources, Sizes(config.voxels, encoder.tokens, encoder.width, (4, 8, 8))


def _batches(config: EmbeddingBench) -> Iterator[Tensor]:
    """Yield rows (N,) of random batches."""
    rng = torch.Generator().manual_seed(config.seed)
    while True:
        yield torch.randperm(config.pictures, generator=rng)[: config.batch_size]


def _targets_only(source: TargetSource, config: EmbeddingBench) -> None:
    rng = torch.Generator().manual_seed(config.seed)
    rows = _batches(config)
    for _ in range(config.steps):
        source(next(rows), rng=rng)


def _trainer(
    source: TargetSource, sizes: Sizes, config: EmbeddingBench, processes: Processes
) -> Callable[[], None]:
    """Return a job of so many training steps of the high-level pipeline."""
    high = run_config(preset_content(config.preset)).high
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = HighLevel(high, sizes).to(processes.device).train()
    nobody = Validation(
        torch.zeros(0, sizes.voxels), torch.zeros(0, dtype=torch.long),
        torch.zeros(0, sizes.tokens, sizes.width),
    )  # fmt: skip
    objective = HighObjective(model, high, source, nobody)
    total = 1000  # far off: all timed steps mix, as the first third of a training does
    optimizer, schedule = make_optimizer(
        model, high.optim, total, input_layer=objective.input_layer
    )
    state = TrainingState(model, optimizer, schedule)
    step = TrainingStep(objective, state, high.optim, processes)
    betas = torch.randn(
        config.pictures, sizes.voxels, generator=torch.Generator().manual_seed(config.seed)
    )
    rows = _batches(config)

    def job() -> None:
        for _ in range(config.steps):
            chosen = next(rows)
            batch = Batch(betas[chosen], chosen)
            draw, dropout = step.draw(batch, seed=config.seed, total=total)
            step.update(step.backward(draw, len(batch.betas), seed=dropout))

    return job


def _paper(config: EmbeddingBench, device: torch.device, folder: Path) -> dict[str, Any]:
    """Time targets alone at the paper's size."""
    encode = paper_encoder(device, config.seed)
    count = config.paper_pictures
    pictures = made_pictures(count, PAPER_SIZE, config.seed)
    sources = _three(encode, pictures, PAPER_SIZE, folder / "paper", count)
    rows = torch.arange(count)

    def once(source: TargetSource) -> None:
        source(rows, rng=torch.Generator().manual_seed(config.seed))

    taken = _timed({name: partial(once, source) for name, source in sources.items()}, config)
    return {"label": PAPER_LABEL, "pictures": count, "ways": _rows(taken, count)}


def paper_encoder(device: torch.device, seed: int) -> Callable[[Tensor], Tensor]:
    """Return a CLIP ViT-L/14 of random weights as a function of images to tokens (N, 257, 768).

    Sizes are those of `openai/clip-vit-large-patch14`: 24 layers of width 1024, 16 heads, patches
    of 14 pixels of 224.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                num_attention_heads=16, image_size=PAPER_SIZE, patch_size=14,
                projection_dim=PAPER_WIDTH,
            )
        )  # fmt: skip
    model = model.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        vision = model.vision_model
        hidden = vision(pixel_values=images.to(device)).last_hidden_state
        tokens: Tensor = model.visual_projection(vision.post_layernorm(hidden))
        scaled: Tensor = tokens / tokens[:, :1].norm(dim=-1, keepdim=True)
        return scaled

    return encode


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    settings, facts = content["settings"], content["machine"]
    lines = [
        f"encoder {settings['encoder']}, batches of {settings['batch_size']}, steps of preset "
        f"{settings['preset']}, {facts['threads']} threads, load {facts['load']} to "
        f"{facts['load_after']}; samples a second, median of {settings['repetitions']} in turns",
        f"{'way':<24}{'targets alone':>14}{'store':>9}{'training':>11}{'store':>9}",
    ]
    for name in WAYS:
        cells = [name.ljust(24)]
        for part, width in (("targets_alone", 14), ("training", 11)):
            row = content[part][name]
            cells.append(f"{row['samples_per_second']:>{width}.0f}")
            cells.append(f"{row['store_is_faster']:>7.1f} x")
        lines.append("".join(cells))
    if content["paper_size"] is not None:
        lines += ["", content["paper_size"]["label"]]
        for name, row in content["paper_size"]["ways"].items():
            lines.append(
                f"{name:<24}{row['samples_per_second']:>14.2f}{row['store_is_faster']:>7.0f} x"
            )
    lines.append("store: how many times as fast the store is as the way in this line")
    return "\n".join(lines)


def main(*, json: Path, bench: EmbeddingBench) -> str:
    """Train on embeddings out of the store and on embeddings computed in every step.

    Samples a second, of targets alone and of whole training steps.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.embedding --pictures 128 --steps 1 --json embedding.json
    """
    return reported(bench_embedding(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
