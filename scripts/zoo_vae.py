"""The embedded autoencoder: 64 x 64 x 3 pixels to 32 x 8 x 8 latents and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from zoo_clip import to_pixels
from zoo_data import training_pictures, training_scenes
from zoo_training import Budget, Recipe, fit, write_record

BATCH = 12
LATENTS = 32
DECODER_BATCH = 12
# Small: latents need to be smooth for a brain decoder, not close to a normal distribution.
KL_WEIGHT = 1.5e-4  # a latent value


def build_vae() -> AutoencoderKL:
    """Return an untrained autoencoder; few channels where the picture is large."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 96, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1, latent_channels=LATENTS, norm_num_groups=8, sample_size=64,
        mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip


def train_vae(out: Path, work: Path, budget: Budget) -> None:
    """Train on absolute and squared error with a slight pull towards a normal posterior."""
    torch.manual_seed(budget.seed)
    vae = build_vae().to(memory_format=torch.channels_last)
    pictures = training_pictures(work, training_scenes())

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([budget.seed, 2, step])
        noise = torch.Generator().manual_seed(budget.seed * 1_000_003 + step)
        rows = np.sort(rng.integers(len(pictures), size=BATCH))
        images = to_pixels(pictures[rows]).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            latents = posterior.mean + posterior.std * torch.randn(
                posterior.mean.shape, generator=noise
            )
            decoded = vae.decode(latents).sample
        error = decoded.float() - images
        kl = posterior.kl().float().mean() / latents[0].numel()
        squared = error.square().mean()
        total = error.abs().mean() + 4 * squared + KL_WEIGHT * kl
        psnr = -10 * torch.log10(error.square().mean((1, 2, 3)) / 4).mean()
        return total, {"psnr": psnr.item(), "l1": error.abs().mean().item(), "kl": kl.item()}

    def export(model: nn.Module, record: dict[str, object]) -> None:
        copy = build_vae()
        copy.load_state_dict(model.state_dict())
        sample = to_pixels(pictures[:512])
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            copy.eval()
            modes = torch.cat([copy.encode(b).latent_dist.mode() for b in sample.split(64)])
        _standardise(copy, modes.float())
        copy.half().save_pretrained(out, safe_serialization=True)
        write_record(out, {**record, "scenes": len(pictures)})

    fit(Recipe("vae", vae, loss, export, learning_rate=2e-3, weight_decay=0.0), budget, work)


def _standardise(vae: AutoencoderKL, modes: Tensor) -> None:
    """Give every latent channel mean 0 and deviation 1, by the two 1 x 1 convolutions alone.

    The decoder undoes it exactly, so pictures do not change, and the scaling factor stays 1.
    """
    mean, spread = modes.mean((0, 2, 3)), modes.std((0, 2, 3))
    with torch.no_grad():
        weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
        weight[:LATENTS] /= spread.view(-1, 1, 1, 1)
        bias[:LATENTS] = (bias[:LATENTS] - mean) / spread
        bias[LATENTS:] -= 2 * spread.log()
        back = vae.post_quant_conv
        back.bias += back.weight[:, :, 0, 0] @ mean
        back.weight *= spread.view(1, -1, 1, 1)


def train_decoder(out: Path, work: Path, budget: Budget) -> None:
    """Go on with the decoder alone; the latents stay, so the generator can train meanwhile."""
    torch.manual_seed(budget.seed)
    vae = AutoencoderKL.from_pretrained(out, local_files_only=True, torch_dtype=torch.float32)
    frozen = {key: value.clone() for key, value in vae.state_dict().items()}
    config = {key: vae.config[key] for key in ("scaling_factor", "shift_factor")}
    before = json.loads((out / "training.json").read_text())
    decoder = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})
    decoder.to(memory_format=torch.channels_last)
    pictures = training_pictures(work, training_scenes())

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([budget.seed, 4, step])
        rows = np.sort(rng.integers(len(pictures), size=DECODER_BATCH))
        images = to_pixels(pictures[rows]).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.mode()
            decoded = vae.decode(latents).sample
        error = decoded.float() - images
        quality = -10 * torch.log10(error.square().mean((1, 2, 3)) / 4).mean()
        total = error.abs().mean() + 2 * error.square().mean()
        return total, {"psnr": quality.item(), "l1": error.abs().mean().item()}

    def export(model: nn.Module, record: dict[str, object]) -> None:
        copy = build_vae()
        copy.load_state_dict({**frozen, **model.state_dict()})
        copy.register_to_config(**config)
        copy.half().save_pretrained(out, safe_serialization=True)
        more = {f"decoder_{key}": record[key] for key in ("trained_steps", "trained_minutes")}
        write_record(out, {**before, **more, "scenes": len(pictures)})

    recipe = Recipe("decoder", decoder, loss, export, learning_rate=1e-3, weight_decay=0.0)
    fit(recipe, budget, work)


def psnr(truth: Tensor, images: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of every image in [0, 1], in dB, (N,)."""
    return -10 * torch.log10(F.mse_loss(images, truth, reduction="none").mean((1, 2, 3)))
