"""AutoencoderKL, AutoencoderTiny and TAESD's own files, through the code that loads real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import SHARED, as_images, natural

from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.targets.autoencoders import SIZE, TinyAutoencoder, load_autoencoder

CPU = torch.device("cpu")
TAESD = SHARED / "weights"


def kl(folder: Path, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    blocks = {"block_out_channels": (16, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=0.18215,
        **blocks,
        **options,
    )
    model.save_pretrained(folder)
    return model.eval()


def tiny(folder: Path) -> Any:
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    model = AutoencoderTiny(
        encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4,
        scaling_factor=2.0,
    )  # fmt: skip
    model.save_pretrained(folder)
    return model.eval()


def test_kl_latents_are_the_mode_in_the_models_own_scale(tmp_path: Path) -> None:
    model = kl(tmp_path, sample_size=32, shift_factor=0.5)
    vae = load_autoencoder(str(tmp_path), device=CPU)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        mode = model.encode(images * 2 - 1).latent_dist.mode()
        again = model.decode(mode).sample
    latents = vae.encode(images)
    assert tuple(latents.shape[1:]) == vae.shape == (4, 8, 8)
    torch.testing.assert_close(latents, (mode - 0.5) * 0.18215, atol=1e-5, rtol=1e-4)
    expected = ((again + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(vae.decode(latents), expected, atol=1e-4, rtol=1e-3)


def test_tiny_latents_are_those_of_diffusers(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    vae = load_autoencoder(str(tmp_path), device=CPU, size=32)
    assert isinstance(vae, TinyAutoencoder)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        own = model.encode(images * 2 - 1).latents
        again = model.decode(own).sample
    latents = vae.encode(images)
    assert tuple(latents.shape[1:]) == vae.shape == (4, 4, 4)
    torch.testing.assert_close(latents, own * 2, atol=1e-5, rtol=1e-4)
    expected = ((again + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(vae.decode(latents), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("make", [kl, tiny])
def test_a_size_can_be_chosen_and_must_divide(make: Any, tmp_path: Path) -> None:
    make(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("sample_size", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    plain = load_autoencoder(str(tmp_path), device=CPU)
    chosen = load_autoencoder(str(tmp_path), device=CPU, size=64)
    factor = SIZE // plain.shape[1]
    assert chosen.shape == (4, 64 // factor, 64 // factor)
    assert chosen.fingerprint != plain.fingerprint
    assert tuple(chosen.encode(torch.rand(1, 3, 50, 50)).shape[1:]) == chosen.shape
    for size in (50, 2):
        with pytest.raises(ConfigError, match=f"pictures of {size} pixels; set targets.vae_size"):
            load_autoencoder(str(tmp_path), device=CPU, size=size)


def test_a_pipeline_leads_to_its_vae(tmp_path: Path) -> None:
    kl(tmp_path / "vae", sample_size=32)
    (tmp_path / "model_index.json").write_text('{"_class_name": "SomePipeline"}')
    assert load_autoencoder(str(tmp_path), device=CPU).id == tmp_path.name


def test_other_folders_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    kl(tmp_path / "kl", sample_size=32)
    shutil.copytree(tmp_path / "kl", tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "VQModel"))
    with pytest.raises(CheckpointError, match=r"\(VQModel\); known kinds: AutoencoderKL"):
        load_autoencoder(str(tmp_path / "other"), device=CPU)
    file = tmp_path / "kl" / "diffusion_pytorch_model.safetensors"
    found = load_file(file)
    found.pop("encoder.conv_in.weight")
    save_file(found, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="holds no AutoencoderKL"):
        load_autoencoder(str(tmp_path / "kl"), device=CPU)
    torch.save(found, tmp_path / "kl" / "diffusion_pytorch_model.bin")
    file.unlink()
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_autoencoder(str(tmp_path / "kl"), device=CPU)
    with pytest.raises(CheckpointError, match="holds no TAESD"):
        load_autoencoder(f"taesd:{tmp_path}", device=CPU)
    with pytest.raises(ConfigError, match="unknown vae 'none-such'; known: zoo"):
        load_autoencoder("none-such", device=CPU)


@pytest.mark.parametrize("name", ["zoo", "pixels:32"])
def test_grey_levels_up_to_255_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="divide by 255"):
        load_autoencoder(name, device=CPU).encode(torch.rand(1, 3, 64, 64) * 255)


def test_taesd_gives_natural_pictures_back(tmp_path: Path) -> None:
    """The real weights; 22.5 dB at 128 pixels is what its documentation here measures."""
    if not (TAESD / "taesd_encoder.safetensors").is_file():
        pytest.skip("no TAESD beside the repository")
    vae = load_autoencoder(f"taesd:{TAESD}", device=CPU, size=128)
    images = as_images(natural(12, 128))
    latents = vae.encode(images)
    assert tuple(latents.shape[1:]) == (4, 16, 16)
    assert 0.6 < float(latents.std()) < 1.4, "scaled already"
    psnr = -10 * torch.log10((vae.decode(latents) - images).square().mean(dim=(1, 2, 3)))
    assert psnr.mean() > 21
    # The same network as a folder of diffusers gives the same latents.
    vae.vae.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    again = load_autoencoder(str(tmp_path), device=CPU, size=128)
    assert torch.equal(again.encode(images), latents)
