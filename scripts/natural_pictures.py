"""Decode simulated subjects that look at 700 natural pictures, in real pretrained spaces.

    python scripts/natural_pictures.py --shared ../shared --out runs/natural --seeds 0 1 2

Targets are the 7 x 7 x 320 grid of EfficientNet-Lite0 and the Stable Diffusion latents of TAESD.
The subject's low-level voxels see Gabor energy and colour, as in the demo. Its high-level voxels
know what a picture means, by one of two sources:

words
    The WordNet gloss of the picture's class, as 60 latent semantic components: a dictionary's
    knowledge, of which the target network has none. No two pictures share a class, so that what a
    test picture means has to be put together from the words of others.
classes
    60 principal components of the target network's own log probabilities of 1,000 classes. Partly
    circular, and said so wherever its numbers stand: they are read off the very grid decoded into.

Every seed draws another split (560 to train, of which 56 for validation, and 140 test pictures),
another brain and another training. Prints one table as Markdown.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mindeye.data.given import GivenPictures
from mindeye.data.images import resize, to_images
from mindeye.data.simulate import simulate_given, write_simulation
from mindeye.data.simulation import SimulateConfig
from mindeye.files import read_json
from mindeye.targets.encoders.timm_maps import timm_file

COMPONENTS = 60
TEST = 140
ARCHITECTURE = "tf_efficientnet_lite0"
PRESET = Path(__file__).with_name("natural700.yaml")
LICENCE = "none stated by the source; ImageNet: non-commercial research"
RETRIEVAL = tuple(
    f"{direction}_full_{k}"
    for k in ("top1", "top5")
    for direction in ("brain_to_image", "image_to_brain")
)
DECODERS = ("mindeye", "mindeye_backbone", "ridge", "ridge_centred", "ideal_observer")
PICTURES = ("PixCorr", "SSIM", "two_way_efficientnet_lite0_fp16")
SYSTEMS = ("low", "ridge", "mean_picture", "ceiling_vae")

Floats = NDArray[np.float32]


def read_pictures(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the pictures (S, 128, 128, 3) and their ImageNet classes (S,)."""
    content = np.load(path, allow_pickle=False)
    jpeg, offset = content["jpeg"], content["offset"]
    files = (jpeg[a:b].tobytes() for a, b in pairwise(offset))
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(f)).convert("RGB")) for f in files])
    return pictures, content["imagenet_class"]


def glosses(classes: NDArray[np.int64]) -> list[str]:
    """Return "names: definition" of ImageNet classes, from WordNet by way of timm."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(int(c), detailed=True) for c in classes]


def meaning_in_words(classes: NDArray[np.int64]) -> Floats:
    """Return latent semantic components (S, COMPONENTS) of the glosses of classes.

    Fitted on the glosses of all 1,000 classes: a dictionary, which is known before any picture.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    table = words.fit_transform(glosses(np.arange(1000)))
    found = TruncatedSVD(COMPONENTS, random_state=0).fit_transform(table)[classes]
    return np.asarray(found, dtype=np.float32)


def meaning_in_classes(pictures: NDArray[np.uint8], weights: Path) -> Floats:
    """Return principal components (S, COMPONENTS) of the network's log probabilities."""
    network, _, _ = timm_file(ARCHITECTURE, weights)
    network.eval()
    scores = []
    with torch.inference_mode():
        for part in np.array_split(pictures, 14):
            pixels = (resize(to_images(part), 224) * 255 - 127) / 128
            scores.append(network(pixels))
    logs = torch.cat(scores).log_softmax(dim=1)
    left, singular, _ = torch.linalg.svd(logs - logs.mean(dim=0), full_matrices=False)
    return np.asarray((left * singular)[:, :COMPONENTS].numpy(), dtype=np.float32)


def prepare(shared: Path, folder: Path, seed: int, *, meaning: str) -> None:
    """Simulate a subject that sees the pictures, in an order of its own, and write it."""
    if (folder / "subject.json").exists():
        return
    pictures, classes = read_pictures(shared / "data" / "imagenet_sample_128" / "images.npz")
    weights = shared / "data" / "weights" / "efficientnet_lite0_fp16.safetensors"
    known = (
        meaning_in_words(classes) if meaning == "words" else meaning_in_classes(pictures, weights)
    )
    order = np.random.default_rng(seed).permutation(len(pictures))
    given = GivenPictures(
        ids=[f"imagenet{c:03d}" for c in classes[order]],
        pictures=pictures[order],
        attributes=known[order],
        captions=glosses(classes[order]),
        source=f"scripts/natural_pictures.py --meaning {meaning}, seed {seed}",
        licence=LICENCE,
    )
    config = SimulateConfig(
        subject="natural01", train=len(pictures) - TEST, test=TEST, voxels=3000, sessions=3,
        ceiling_low=0.125, ceiling_high=0.125,
    )  # fmt: skip
    write_simulation(simulate_given(config, seed, given), folder)


def run(shared: Path, subject: Path, out: Path, words: list[str]) -> None:
    """Run every stage through the command line, as a user would."""
    weights = shared / "data" / "weights"
    network = f"timm:{ARCHITECTURE}:{weights / 'efficientnet_lite0_fp16.safetensors'}"
    command = [
        sys.executable, "-m", "mindeye", "run", str(PRESET), f"--subject-dir={subject}",
        f"--out={out}", f"targets.encoder={network}", f"targets.maps={network}",
        f"targets.vae=taesd:{weights}", *words,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def rows_of(flags: argparse.Namespace, seed: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Prepare, run and score one seed; return the rows of its table by metric and system."""
    folder = flags.out / flags.meaning
    prepared, out = folder / f"subject-{seed}", folder / f"run-{seed}"
    prepare(flags.shared, prepared, seed, meaning=flags.meaning)
    run(flags.shared, prepared, out, [f"seed={seed}", *flags.fields])
    rows = read_json(out / "metrics.json")["rows"]
    return {(row["metric"], row["system"]): row for row in rows}


def cell(row: dict[str, Any] | None) -> str:
    """Format a value with its interval."""
    if row is None:
        return "–"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def around(rows: list[dict[str, Any]], key: str) -> str:
    """Format the mean over seeds of a floor, a chance level or a ceiling."""
    values = [row[key] for row in rows if row[key] is not None]
    return f"{np.mean(values):.3f}" if values else "–"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--meaning", choices=("words", "classes"), default="words")
    parser.add_argument("fields", nargs="*", help="field=value over natural700.yaml")
    flags = parser.parse_args()
    tables = {seed: rows_of(flags, seed) for seed in flags.seeds}
    heads = " | ".join(f"seed {seed}" for seed in flags.seeds)
    print(f"| metric | system | {heads} | mean | chance | floor | ceiling |")
    print("|" + "---|" * (len(flags.seeds) + 6))
    wanted = [(m, s) for m in RETRIEVAL for s in DECODERS]
    wanted += [(m, s) for m in PICTURES for s in SYSTEMS]
    for metric, system in wanted:
        rows = [tables[seed].get((metric, system)) for seed in flags.seeds]
        found = [row for row in rows if row is not None]
        if found:
            cells = [metric, system, *map(cell, rows)]
            cells += [around(found, key) for key in ("value", "chance", "floor", "ceiling")]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
