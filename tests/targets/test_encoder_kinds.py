"""Every kind of encoder, tiny and at random, through the code that loads real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import FOLDERS, as_images, natural

from mindeye.errors import ConfigError, DataError
from mindeye.targets.encoders import Encoder, load_encoder

CPU = torch.device("cpu")
SHAPES = {
    "clip": (17, 24, 56, True),
    "dinov2": (17, 32, 64, True),
    "dinov2 with registers": (17, 32, 64, True),
    "siglip": (9, 32, 48, False),
    "siglip2 naflex": (16, 32, 32, False),
    "open_clip vit": (17, 24, 56, True),
    "open_clip resnet": (5, 24, 64, True),
    "timm": (4, 320, 64, False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    root = tmp_path_factory.mktemp("models")
    made = {}
    for kind, make in FOLDERS.items():
        folder = root / kind.replace(" ", "_")
        made[kind] = (folder, make(folder))
    return made


@pytest.fixture(params=list(FOLDERS))
def case(request: pytest.FixtureRequest, folders: Any) -> tuple[str, Path, Any]:
    return request.param, *folders[request.param]


def images(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def test_a_kind_is_told_by_its_folder_and_gives_what_it_says(
    case: tuple[str, Path, Any],
) -> None:
    kind, folder, _ = case
    encoder = load_encoder(str(folder), device=CPU)
    stated = (encoder.tokens, encoder.width, encoder.size, encoder.has_class_token)
    assert stated == SHAPES[kind]
    pictures = images(3, encoder.size)
    tokens = encoder.encode(pictures)
    assert tuple(tokens.shape) == (3, encoder.tokens, encoder.width)
    assert tokens.dtype == torch.float32
    if encoder.normalisation == "class":
        torch.testing.assert_close(tokens[:, 0].norm(dim=-1), torch.ones(3))
    else:
        assert encoder.normalisation == "rms"
        mean_square = tokens.square().sum(-1).mean(-1)
        torch.testing.assert_close(mean_square, torch.ones(3))
    norms = encoder.class_norms(pictures)
    assert norms is None if encoder.normalisation == "rms" else tuple(norms.shape) == (3,)
    # Two pictures differ, and neither knows of its batch.
    assert (tokens[0] - tokens[1]).abs().max() > 1e-3
    alone = torch.cat([encoder.encode(p[None]) for p in pictures])
    torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-4)
    again = load_encoder(str(folder), device=CPU)
    assert again.fingerprint == encoder.fingerprint
    assert torch.equal(again.encode(pictures), tokens)


def test_every_kind_has_a_pooled_embedding_of_norm_one(case: tuple[str, Path, Any]) -> None:
    kind, folder, _ = case
    pooled = load_encoder(str(folder), device=CPU, tokens="pooled")
    pictures = images(3, pooled.size)
    vectors = pooled.encode(pictures)
    assert tuple(vectors.shape) == (3, 1, pooled.width)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3, 1))
    assert vectors.untyped_storage().nbytes() == vectors.nbytes
    everything = load_encoder(str(folder), device=CPU)
    if everything.has_class_token:
        assert torch.equal(vectors, everything.encode(pictures)[:, :1]), kind


def own_pooled(kind: str, model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The library's own image embedding."""
    if kind == "clip":
        return model(pixel_values=pixels).image_embeds
    if kind.startswith("dinov2"):
        return model(pixel_values=pixels).pooler_output
    if kind == "siglip":
        return model.get_image_features(pixel_values=pixels).pooler_output
    if kind.startswith("open_clip"):
        return model.encode_image(pixels)
    return model.forward_head(model.forward_features(pixels), pre_logits=True)


@pytest.mark.parametrize("kind", [k for k in FOLDERS if k != "siglip2 naflex"])
def test_the_pooled_embedding_is_the_librarys_own(kind: str, folders: Any) -> None:
    folder, model = folders[kind]
    pooled = load_encoder(str(folder), device=CPU, tokens="pooled")
    inner: Any = pooled.encoder  # type: ignore[attr-defined]
    pictures = images(2, pooled.size)
    shown = pictures[..., 4:60, 4:60] if kind.startswith("dinov2") else pictures
    with torch.no_grad():
        own = own_pooled(kind, model, (shown - inner.mean) / inner.deviation)
    expected = torch.nn.functional.normalize(own, dim=-1)
    torch.testing.assert_close(pooled.encode(pictures)[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_naflex_patches_are_cut_as_its_processor_cuts_them(folders: Any) -> None:
    from transformers import Siglip2ImageProcessor

    folder, model = folders["siglip2 naflex"]
    pictures = natural(3)
    given = Siglip2ImageProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")
    with torch.no_grad():
        own = model.vision_model(**given)
    encoder = load_encoder(str(folder), device=CPU)
    raw = own.last_hidden_state
    expected = raw / raw.square().sum(-1, keepdim=True).mean(1, keepdim=True).sqrt()
    found = encoder.encode(as_images(pictures))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    pooled = load_encoder(str(folder), device=CPU, tokens="pooled").encode(as_images(pictures))
    own_unit = torch.nn.functional.normalize(own.pooler_output, dim=-1)
    torch.testing.assert_close(pooled[:, 0], own_unit, atol=1e-5, rtol=1e-4)


def test_registers_are_left_out(folders: Any) -> None:
    folder, model = folders["dinov2 with registers"]
    encoder: Any = load_encoder(str(folder), device=CPU)
    pictures = images(2, encoder.size)
    shown = pictures[..., 4:60, 4:60]  # its processor cuts 56 out of 64
    with torch.no_grad():
        hidden = model((shown - encoder.mean) / encoder.deviation).last_hidden_state
    kept = hidden[:, [0, *range(5, 21)]]
    expected = kept / hidden[:, :1].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encoder.encode(pictures), expected, atol=1e-5, rtol=1e-4)


def test_a_map_is_read_row_by_row_before_the_head(folders: Any) -> None:
    folder, model = folders["timm"]
    encoder: Any = load_encoder(str(folder), device=CPU)
    pictures = images(2, encoder.size)
    with torch.no_grad():
        hidden = (pictures - encoder.mean) / encoder.deviation
        grid = model.stages(model.stem(hidden))
    raw = grid.permute(0, 2, 3, 1).reshape(2, 4, -1)
    expected = raw / raw.square().sum(-1, keepdim=True).mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(encoder.encode(pictures), expected, atol=1e-5, rtol=1e-4)


def test_a_network_of_timm_takes_another_size_and_others_do_not(folders: Any) -> None:
    folder, _ = folders["timm"]
    large = load_encoder(str(folder), device=CPU, size=128)
    assert (large.tokens, large.size) == (16, 128)
    assert large.fingerprint != load_encoder(str(folder), device=CPU).fingerprint
    assert large.encode(images(1, 64)).shape == (1, 16, 320)
    with pytest.raises(ConfigError, match="has a size of its own"):
        load_encoder(str(folders["clip"][0]), device=CPU, size=128)


@pytest.mark.parametrize("name", ["zoo", "pixels:28:4"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * 255, "divide by 255"),
        (lambda x: x * 2 - 1, r"\[-0.99"),
        (lambda x: torch.where(x > 0.5, torch.nan, x), "nan"),
        (lambda x: (x * 255).to(torch.uint8), "torch.uint8"),
        (lambda x: x.permute(0, 2, 3, 1), r"shape \(2, 64, 64, 3\)"),
        (lambda x: x[0], r"shape \(3, 64, 64\)"),
    ],
)
def test_what_is_no_image_in_0_to_1_is_refused(name: str, change: Any, said: str) -> None:
    encoder: Encoder = load_encoder(name, device=CPU)
    with pytest.raises(DataError, match=said):
        encoder.encode(change(images(2, 64)))
    assert encoder.encode(images(2, 64) * 1.0005).isfinite().all(), "rounding is no fault"
