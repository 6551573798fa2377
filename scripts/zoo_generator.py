"""The embedded generator: diffusion on the zoo's latents, led by the zoo's tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel, UniPCMultistepScheduler
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from mindeye.targets.autoencoders import KLAutoencoder
from mindeye.targets.encoders import ClipEncoder
from zoo_data import GRID, training_pictures, training_scenes
from zoo_training import Budget, Recipe, fit, write_record

BATCH = 32
SCENES = 30_000
DROPPED = 0.1  # share of conditions replaced by zeros, for classifier-free guidance
# Tokens predicted from a brain are never exact: noise up to this share of their deviation.
NOISE = 0.5


def build_unet(latent_channels: int, width: int) -> UNet2DConditionModel:
    """Return an untrained UNet of a few million parameters on an 8 x 8 grid."""
    return UNet2DConditionModel(
        sample_size=GRID, in_channels=latent_channels, out_channels=latent_channels,
        block_out_channels=(64, 128), layers_per_block=1, norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=width, attention_head_dim=(2, 4),
    )  # fmt: skip


def build_scheduler() -> UniPCMultistepScheduler:
    """Return the noise schedule: linear betas, the network predicts v."""
    return UniPCMultistepScheduler(
        num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02, beta_schedule="linear",
        prediction_type="v_prediction", solver_order=2, timestep_spacing="trailing",
    )  # fmt: skip


def encoded_scenes(work: Path, zoo: Path) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Encode the training pictures once: tokens (S, K, D) and scaled latents (S, C, h, w).

    The files are named after the weights that made them, so new weights make new files.
    """
    cpu = torch.device("cpu")
    pictures = training_pictures(work, training_scenes())[:SCENES]
    arrays = []
    for member in ("clip", "vae"):
        path = work / f"{member}-{len(pictures)}-{_encoder_hash(zoo / member)}.npy"
        if not path.exists():
            encoder = (ClipEncoder if member == "clip" else KLAutoencoder)(
                zoo / member, member, device=cpu
            )
            parts = []
            for first in range(0, len(pictures), 120):
                batch = torch.from_numpy(np.array(pictures[first : first + 120]))
                images = batch.permute(0, 3, 1, 2).float() / 255
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    parts.append(encoder.encode(images).float().numpy().astype(np.float16))
            np.save(path, np.concatenate(parts))
            print(f"encoded {len(pictures)} pictures with {member}", flush=True)
        arrays.append(np.load(path))
    return arrays[0], arrays[1]


def _encoder_hash(folder: Path) -> str:
    """Hash what the latents and tokens depend on; the VAE's decoder may still be training."""
    weights = load_file(next(folder.glob("*.safetensors")))
    digest = hashlib.sha256()
    for name in sorted(weights):
        if not name.startswith(("decoder.", "post_quant_conv.", "text_")):
            digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()[:12]


def train_generator(out: Path, work: Path, budget: Budget, *, zoo: Path) -> None:
    """Train the UNet to predict v from noised latents, tokens and the timestep."""
    torch.manual_seed(budget.seed)
    tokens, latents = encoded_scenes(work, zoo)
    unet = build_unet(latents.shape[1], tokens.shape[2])
    scheduler = build_scheduler()
    keep = scheduler.alphas_cumprod.sqrt()
    blur = (1 - scheduler.alphas_cumprod).sqrt()
    deviation = float(tokens[:2000].astype(np.float32).std())

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([budget.seed, 3, step])
        draw = torch.Generator().manual_seed(budget.seed * 1_000_003 + step)
        rows = rng.integers(len(tokens), size=BATCH)
        clean = torch.from_numpy(latents[rows].astype(np.float32))
        condition = torch.from_numpy(tokens[rows].astype(np.float32))
        strength = NOISE * deviation * torch.rand(BATCH, 1, 1, generator=draw) ** 2
        condition = condition + strength * torch.randn(condition.shape, generator=draw)
        condition = condition * (torch.rand(BATCH, 1, 1, generator=draw) >= DROPPED)
        # Spread over the schedule within a batch: less variance than independent draws.
        share = (torch.arange(BATCH) + torch.rand(BATCH, generator=draw)) / BATCH
        times = (share * len(keep)).long()
        noise = torch.randn(clean.shape, generator=draw)
        a, s = keep[times].view(-1, 1, 1, 1), blur[times].view(-1, 1, 1, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = unet(a * clean + s * noise, times, condition).sample
        total = F.mse_loss(predicted.float(), a * noise - s * clean)
        return total, {"v_mse": total.item()}

    def export(model: nn.Module, record: dict[str, object]) -> None:
        copy = build_unet(latents.shape[1], tokens.shape[2])
        copy.load_state_dict(model.state_dict())
        copy.half().save_pretrained(out / "unet", safe_serialization=True)
        scheduler.save_pretrained(out / "scheduler")
        index = {
            "_class_name": "DiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        }
        (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        write_record(out, {**record, "scenes": len(tokens)})

    recipe = Recipe("generator", unet, loss, export, learning_rate=1.2e-3, average=0.9985)
    fit(recipe, budget, work)
