from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.data.images import resize, to_images, to_pictures
from mindeye.data.scenes import draw_scene, make_scenes
from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.augment import recolour
from mindeye.targets.autoencoders import load_autoencoder
from mindeye.targets.encoders import ClipEncoder, PixelEncoder, load_encoder
from mindeye.zoo import MEMBERS, zoo_folder

CPU = torch.device("cpu")


def scenes(count: int) -> torch.Tensor:
    return to_images(np.stack([draw_scene(s) for s in make_scenes(count, 99)]))


def test_images_and_pictures_are_inverse() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert (to_pictures(to_images(codes)) == codes).all()
    assert (to_pictures(torch.tensor([-0.5, 1.5]).view(1, 1, 1, 2).expand(1, 3, 1, 2)) <= 255).all()


def test_clip_tokens_follow_the_published_recipe() -> None:
    """Token 0 is CLIP's own image embedding, at norm 1; the rest are in its units."""
    from transformers import CLIPModel

    encoder = load_encoder("zoo", device=CPU)
    images = scenes(4)
    tokens = encoder.encode(images)
    assert tokens.shape == (4, encoder.tokens, encoder.width)
    model = CLIPModel.from_pretrained(zoo_folder("clip"), dtype=torch.float32).eval()
    assert isinstance(encoder, ClipEncoder)
    pixels = (images - encoder.mean) / encoder.deviation
    with torch.no_grad():
        vision = model.vision_model(pixel_values=pixels)
        own = model.visual_projection(vision.pooler_output)
    torch.testing.assert_close(
        tokens[:, 0], torch.nn.functional.normalize(own, dim=-1), atol=1e-5, rtol=1e-4
    )


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    encoder = load_encoder("zoo", device=CPU)
    images = scenes(5)
    together = encoder.encode(images)
    alone = torch.cat([encoder.encode(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_pooled_token_is_the_first_of_all() -> None:
    everything = load_encoder("zoo", device=CPU)
    pooled = load_encoder("zoo", device=CPU, tokens="pooled")
    images = scenes(3)
    tokens = pooled.encode(images)
    assert torch.equal(tokens, everything.encode(images)[:, :1])
    assert (pooled.tokens, pooled.width) == tuple(tokens.shape[1:])
    assert pooled.fingerprint == f"{everything.fingerprint}/pooled"
    assert pooled.id == "zoo_clip_pooled"
    # No view of all tokens, which would keep them in memory.
    assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_pixels_have_no_pooled_token() -> None:
    with pytest.raises(ConfigError, match="pixels28 has no class token"):
        load_encoder("pixels:28:4", device=CPU, tokens="pooled")


def test_pixel_tokens_unfold_to_the_picture() -> None:
    encoder = PixelEncoder(28, 4)
    images = torch.rand(3, 1, 28, 28).expand(-1, 3, -1, -1)
    tokens = encoder.encode(images)
    assert tokens.shape == (3, 49, 16)
    torch.testing.assert_close(encoder.decode(tokens), images, atol=1e-6, rtol=0)
    # Patch 8 of a 7 x 7 grid is row 1, column 1.
    torch.testing.assert_close(tokens[0, 8, 0], images[0, 0, 4, 4])


def test_the_vae_gives_the_picture_back() -> None:
    vae = load_autoencoder("zoo", device=CPU)
    images = scenes(16)
    again = vae.decode(vae.encode(images))
    psnr = -10 * torch.log10((again - images).square().mean(dim=(1, 2, 3)))
    assert psnr.mean() >= 28, "the bar of the zoo's model card"
    assert vae.encode(images).std() == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("name", ["zooo", "pixels:28", "pixels:a:b", "/nowhere"])
def test_an_unknown_encoder_lists_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError, match="known: zoo, pixels:SIZE:PATCH"):
        load_encoder(name, device=CPU)


def test_patches_must_tile_the_picture() -> None:
    with pytest.raises(ConfigError, match="must divide"):
        load_encoder("pixels:28:5", device=CPU)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_encoder(str(tmp_path), device=CPU)
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_autoencoder(str(tmp_path), device=CPU)


def test_the_fingerprint_changes_with_one_weight(tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clip"
    shutil.copytree(zoo_folder("clip"), folder)
    before = ClipEncoder(folder, "c", device=CPU).fingerprint
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert ClipEncoder(folder, "c", device=CPU).fingerprint != before


def test_recolouring_moves_colours_and_nothing_else() -> None:
    images = scenes(6)
    changed = recolour(images, seeds=range(len(images)))
    assert torch.equal(changed, recolour(images, seeds=range(len(images))))
    assert not torch.allclose(changed, images, atol=0.02)
    edges = [x.mean(dim=1).diff(dim=-1).abs().flatten(1) for x in (images, changed)]
    for a, b in zip(*edges, strict=True):
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.8


def test_resizing_stays_within_the_range() -> None:
    images = (torch.rand(2, 3, 20, 20) > 0.5).float()
    resized = resize(images, 31)
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_the_zoo_is_small_and_safe() -> None:
    total = 0
    for member in MEMBERS:
        files = [p for p in zoo_folder(member).rglob("*") if p.is_file()]
        assert any(p.suffix == ".safetensors" for p in files)
        assert any(p.name == "README.md" for p in files), f"{member} has no model card"
        assert not [p for p in files if p.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]
        total += sum(p.stat().st_size for p in files)
    assert total <= 25e6
