"""Measure the embedded models on scenes that none of them saw; write the numbers and the cards."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from mindeye.data.scenes import Scene, caption, draw_scenes, make_scenes
from mindeye.generation.generators import LatentGenerator
from mindeye.targets.autoencoders import KLAutoencoder
from mindeye.targets.encoders import ClipEncoder
from zoo_cards import write_cards
from zoo_clip import text_embedding
from zoo_data import MEASURE_SEED
from zoo_vae import psnr

CPU = torch.device("cpu")
HELD_OUT = 300
DRAWS = 10
# (guidance, steps, noise on the tokens as a share of their deviation)
SETTINGS_TRIED = ((1.0, 12, 0.0), (2.0, 12, 0.0), (3.0, 12, 0.0), (2.0, 20, 0.0), (2.0, 12, 0.5))

Numbers = dict[str, float | int]


def measure(zoo: Path) -> None:
    """Measure whatever members exist; write ``measured.json`` and a card into each folder."""
    scenes = make_scenes(DRAWS * HELD_OUT, MEASURE_SEED)
    images = torch.from_numpy(draw_scenes(scenes)).permute(0, 3, 1, 2).float() / 255
    encoder = ClipEncoder(zoo / "clip", "zoo_clip", device=CPU)
    tokens = torch.cat([encoder.encode(batch) for batch in images.split(100)])
    held_out, first = images[:HELD_OUT], tokens[:HELD_OUT]
    measured: dict[str, object] = {
        "held_out": {"seed": MEASURE_SEED, "n": HELD_OUT, "draws": DRAWS},
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "clip": {**size(zoo / "clip"), **measure_clip(zoo / "clip", scenes, tokens)},
    }
    if (zoo / "vae").is_dir():
        vae = KLAutoencoder(zoo / "vae", "zoo_vae", device=CPU)
        measured["vae"] = {**size(zoo / "vae"), **measure_vae(vae, held_out)}
    if (zoo / "generator").is_dir():
        rows = [
            measure_generator(zoo / "generator", vae, encoder, first, held_out, *setting)
            for setting in SETTINGS_TRIED
        ]
        cost = forward_milliseconds(zoo / "generator", vae, first)
        measured["generator"] = {
            **size(zoo / "generator"), "forward_batch32_ms": cost, "settings": rows,
        }  # fmt: skip
    (zoo / "measured.json").write_text(json.dumps(measured, indent=2) + "\n")
    write_cards(zoo)
    print(json.dumps(measured, indent=2))


def size(folder: Path) -> Numbers:
    """Count the parameters and the bytes of a model folder."""
    parameters = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            parameters += sum(
                int(np.prod(weights.get_slice(key).get_shape()))
                for key in weights.keys()  # noqa: SIM118
            )
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"parameters": parameters, "megabytes": round(total / 1e6, 2)}


def top1(queries: Tensor, gallery: Tensor) -> float:
    """Return how often the own partner is nearest by cosine; chance is 1 / n."""
    scores = (
        torch.nn.functional.normalize(queries, dim=-1)
        @ torch.nn.functional.normalize(gallery, dim=-1).T
    )
    return float((scores.argmax(1) == torch.arange(len(scores))).float().mean())


def correlation(truth: Tensor, images: Tensor) -> float:
    """Return the mean Pearson correlation over pixels and channels (PixCorr)."""
    a, b = truth.flatten(1), images.flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return float(torch.nn.functional.cosine_similarity(a, b).mean())


@torch.inference_mode()
def measure_clip(folder: Path, scenes: list[Scene], tokens: Tensor) -> Numbers:
    """Retrieve pictures by caption and captions by picture, in draws of 300."""
    model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    texts = torch.cat(
        [
            text_embedding(model, tokenizer, [caption(s) for s in scenes[i : i + HELD_OUT]])
            for i in range(0, len(scenes), HELD_OUT)
        ]
    )
    pairs = list(zip(texts.split(HELD_OUT), tokens[:, 0].split(HELD_OUT), strict=True))
    forward = [top1(text, image) for text, image in pairs]
    back = [top1(image, text) for text, image in pairs]
    norms = tokens.norm(dim=-1)
    return {
        "caption_to_image_top1": float(np.mean(forward)),
        "caption_to_image_top1_lowest": float(np.min(forward)),
        "image_to_caption_top1": float(np.mean(back)),
        "image_to_caption_top1_lowest": float(np.min(back)),
        "patch_norm_mean": float(norms[:, 1:].mean()),
        "patch_norm_least": float(norms[:, 1:].min()),
        "patch_norm_most": float(norms[:, 1:].max()),
        "token_value_std": float(tokens.std()),
    }


def measure_vae(vae: KLAutoencoder, images: Tensor) -> Numbers:
    """Encode and decode; the mode, not a sample, as everywhere in the project."""
    latents = torch.cat([vae.encode(batch) for batch in images.split(50)])
    decoded = torch.cat([vae.decode(batch) for batch in latents.split(50)])
    quality = psnr(images, decoded)
    return {
        "psnr_db": float(quality.mean()),
        "psnr_db_fifth_percentile": float(quality.quantile(0.05)),
        "pixel_correlation": correlation(images, decoded),
        "latent_mean": float(latents.mean()),
        "latent_std": float(latents.std()),
        "latent_abs_max": float(latents.abs().max()),
    }


def measure_generator(
    folder: Path,
    vae: KLAutoencoder,
    encoder: ClipEncoder,
    tokens: Tensor,
    images: Tensor,
    *setting: float,
) -> Numbers:
    """Draw from the true tokens and look whether the encoder recognises the result."""
    guidance, steps, noise = setting
    generator = LatentGenerator(
        folder, vae, steps=int(steps), guidance=guidance, strength=1.0, device=CPU
    )
    rng = torch.Generator().manual_seed(MEASURE_SEED)
    shaken = tokens + noise * tokens.std() * torch.randn(tokens.shape, generator=rng)
    began = time.perf_counter()
    drawn = torch.cat(
        [
            generator.generate(batch, seeds=range(60 * i, 60 * i + len(batch)))
            for i, batch in enumerate(shaken.split(60))
        ]
    )
    seconds = time.perf_counter() - began
    seen = encoder.encode(drawn)
    return {
        "guidance": guidance,
        "steps": int(steps),
        "token_noise": noise,
        "own_scene_top1": top1(seen[:, 0], tokens[:, 0]),
        "own_scene_cosine": float((seen[:, 0] * tokens[:, 0]).sum(-1).mean()),
        "pixel_correlation": correlation(images, drawn),
        "psnr_db": float(psnr(images, drawn).mean()),
        "seconds_per_picture": round(seconds / len(images), 4),
    }


def forward_milliseconds(folder: Path, vae: KLAutoencoder, tokens: Tensor) -> float:
    """Time one forward of 32 latents; the fastest of ten."""
    unet = LatentGenerator(folder, vae, steps=1, guidance=1.0, strength=1.0, device=CPU).unet
    latents, times = torch.randn(32, *vae.shape), []
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(10):
            began = time.perf_counter()
            unet(latents, 500, tokens[:32])
            times.append(time.perf_counter() - began)
    return round(1000 * min(times), 1)
