"""What does not fit is refused by name before anything is drawn; the libraries' traps are shut."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_generators as tiny
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from test_generator_backends import (  # noqa: F401
    CPU,
    NOWHERE,
    SEEDS,
    config,
    drawn,
    folder,
    loaded,
)

from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.generation.generators import load_generator
from mindeye.generation.generators.backends import BACKENDS, Backend
from mindeye.generation.reconstruct import Choice, blend, draw_batches, pick_by_brain, pick_streamed
from mindeye.targets.autoencoders import load_autoencoder

Folders = Callable[[str], Path]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", 1.5), ("strength", -0.1), ("strength", 0.0), ("strength", math.nan),
        ("candidates", 0), ("steps", 0), ("steps", 1001), ("batch_size", 0), ("stimuli", -1),
        ("guidance", math.nan), ("guidance", -1.0), ("norm", -1.0), ("blend", 1.0),
        ("blend", -0.1),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"reconstruct.{field}"):
        config(**{field: value})


def test_embeddings_that_do_not_fit_are_refused(folder: Folders) -> None:  # noqa: F811
    drawer = loaded(str(folder("versatile")), tiny.Embeds(10, tiny.WIDTH, "class"), config())
    good = drawn(2, 10, tiny.WIDTH) / 3
    bad = {
        r"\(N, K, D\)": good[:, 0],  # the library takes such a tensor for a picture
        "embeddings are 9 x 16": good[:, :9],
        "embeddings are 10 x 8": good[..., :8],
        "embedding 1 is not finite": torch.cat([good[:1], good[1:] * math.nan]),
        "norm 1": good * 20,
    }
    for message, tokens in bad.items():
        with pytest.raises(DataError, match=message):
            drawer.generate(tokens, seeds=SEEDS)
    with pytest.raises(DataError, match="2 embeddings and 3 seeds"):
        drawer.generate(good, seeds=[1, 2, 3])
    with pytest.raises(DataError, match="at least one"):
        drawer.generate(good[:0], seeds=[])


def test_a_start_that_is_no_latents_is_refused(folder: Folders) -> None:  # noqa: F811
    path = folder("versatile")
    vae = load_autoencoder(str(path / "vae"), device=CPU)
    drawer = loaded(str(path), tiny.Embeds(10, tiny.WIDTH, "class"), config(), vae)
    tokens = drawn(2, 10, tiny.WIDTH) / 3
    for start, message in (
        (torch.rand(2, 3, 64, 64), "pictures are not latents"),
        (drawn(1, 4, 8, 8), "start latents have shape"),
        (drawn(2, 4, 8, 8) * math.inf, "start latents 0 are not finite"),
    ):
        with pytest.raises(DataError, match=message):
            drawer.generate(tokens, seeds=SEEDS, start=start)
    for images in (torch.rand(1, 3, 64, 64) * 255, torch.rand(1, 3, 64, 64) * 2 - 1):
        with pytest.raises(DataError, match=r"\[0, 1\]"):
            drawer.own.encode(images)  # type: ignore[union-attr]
        with pytest.raises(DataError, match=r"\[0, 1\]"):
            blend(images, torch.rand(1, 3, 8, 8), 0.5)


@pytest.mark.parametrize("kind", ["variation", "kandinsky", "unclip"])
def test_norms_are_brought_to_what_the_generator_knows_or_refused(
    kind: str,
    folder: Folders,  # noqa: F811
) -> None:
    width = tiny.KANDINSKY_WIDTH if kind == "kandinsky" else tiny.WIDTH
    name, encoder = str(folder(kind)), tiny.Embeds(1, width, "class")
    with pytest.raises(ConfigError, match=r"reconstruct\.norm"):
        loaded(name, encoder, config())
    with pytest.raises(DataError, match="own norm"):
        loaded(name, tiny.Embeds(1, width), config()).draw(drawn(2, 1, width) / 20, seeds=SEEDS)
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made: Any = load_generator(name, encoder, NOWHERE, config=config(), device=CPU, pictures=images)
    assert made.config.norm == pytest.approx(float(encoder.class_norms(images).mean()))
    units = encoder.encode(images[:2])
    plain = loaded(name, tiny.Embeds(1, width), config())
    wanted = plain.draw(units * made.config.norm, seeds=SEEDS)
    assert (made.draw(units, seeds=SEEDS) - wanted).abs().max() < 1e-3


def test_a_misfit_is_told_with_what_fits(folder: Folders) -> None:  # noqa: F811
    path = folder("kandinsky")
    with pytest.raises(ConfigError) as told:
        loaded(str(path), tiny.Embeds(257, 768), config(unconditional="image"))
    for part in ("of 1 x 20", "257 x 768", "shi-labs/versatile-diffusion"):
        assert part in str(told.value)
    with pytest.raises(ConfigError, match=r"Generators that fit the encoder: .*kandinsky-2-2"):
        loaded(str(folder("versatile")), tiny.Embeds(1, 1280), config())
    with pytest.raises(ConfigError, match="no pipeline with an unconditional"):
        loaded("zoo", tiny.Embeds(65, 64), config(unconditional="image"))
    base = folder("sd15")
    name = f"ip_adapter:{base}:{base}.safetensors"
    with pytest.raises(ConfigError, match="slicing takes an IP-Adapter"):
        loaded(name, tiny.Embeds(1, tiny.WIDTH), config(attention="slicing"))


def test_slices_of_attention_draw_the_same(folder: Folders) -> None:  # noqa: F811
    path, encoder = str(folder("versatile")), tiny.Embeds(10, tiny.WIDTH, "class")
    tokens = drawn(2, 10, tiny.WIDTH) / 3
    whole, sliced = (
        loaded(path, encoder, config(attention=a, guidance=1.0)).draw(tokens, seeds=SEEDS)
        for a in ("", "slicing")
    )
    assert (whole - sliced).abs().max() < 1e-4
    half = loaded(path, encoder, config(precision="fp16", guidance=1.0))
    assert half.unet.dtype == torch.float16
    assert (half.draw(tokens, seeds=SEEDS) - whole).abs().mean() < 0.05 * whole.abs().mean()


def test_what_a_folder_is_not_is_said(folder: Folders, tmp_path: Path) -> None:  # noqa: F811
    encoder = tiny.Embeds(1, tiny.WIDTH)
    base = folder("sd15")
    with pytest.raises(ConfigError, match="ip_adapter:"):
        loaded(str(base), encoder, config())
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    save_file({"weight": torch.zeros(2)}, tmp_path / "flux" / "model.safetensors")
    with pytest.raises(ConfigError, match=r"FluxPipeline; known kinds: Versatile"):
        loaded(str(tmp_path / "flux"), encoder, config())
    for name in ("ip_adapter:x", "ip_adapter:a:b:c", "ip_adapter::"):
        with pytest.raises(ConfigError, match="BASE:ADAPTER_FILE"):
            loaded(name, encoder, config())
    for name in ("no/such-model", "somewhere"):
        with pytest.raises((ConfigError, CheckpointError), match=r"known: zoo"):
            loaded(name, encoder, config())
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(base.with_suffix(".safetensors").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="torn"):
        loaded(f"ip_adapter:{base}:{torn}", encoder, config())
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="no IP-Adapter"):
        loaded(f"ip_adapter:{base}:{foreign}", encoder, config())
    other = tmp_path / "other.safetensors"
    tensors = load_file(base.with_suffix(".safetensors"))
    save_file({k: v for k, v in tensors.items() if "ip_adapter.1." not in k}, other)
    with pytest.raises(CheckpointError, match="does not fit"):
        loaded(f"ip_adapter:{base}:{other}", encoder, config())


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tiny.versatile(tmp_path / "vd")
    (path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="vae"):
        loaded(str(path), tiny.Embeds(10, tiny.WIDTH, "class"), config())
    (path / "vae" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        loaded(str(path), tiny.Embeds(10, tiny.WIDTH, "class"), config())


def test_latents_are_taken_as_they_are_in_the_same_space_only(
    folder: Folders,  # noqa: F811
    tmp_path: Path,
) -> None:
    path, encoder = folder("versatile"), tiny.Embeds(10, tiny.WIDTH, "class")
    same = load_autoencoder(str(path / "vae"), device=CPU)
    tiny.autoencoder(seed=9).save_pretrained(tmp_path / "other")
    tiny.autoencoder(scale=1.0).save_pretrained(tmp_path / "scaled")
    start = drawn(2, 4, 8, 8)
    assert torch.equal(loaded(str(path), encoder, config(), same).start(start), start)
    as_published = loaded(str(path), encoder, config(start="image"), same).start(start)
    assert (as_published - start).abs().max() > 1e-2
    for name in ("other", "scaled"):
        vae = load_autoencoder(str(tmp_path / name), device=CPU)
        drawer = loaded(str(path), encoder, config(), vae)
        wanted = drawer.own.encode(vae.decode(start))  # type: ignore[union-attr]
        assert torch.equal(drawer.start(start), wanted)
        with pytest.raises(ConfigError, match="start=latents"):
            loaded(str(path), encoder, config(start="latents"), vae)


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.unet], ids=lambda b: b.name)
def test_full_sizes_are_those_of_the_table(backend: Backend) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**backend.unet)
    count = sum(p.numel() for p in unet.parameters())
    assert count / 1e6 == pytest.approx(backend.parameters, abs=0.006)
    settings = unet.config
    wide = {
        "1 x 768": settings.cross_attention_dim,
        "257 x 768": settings.cross_attention_dim,
    }.get(str(backend.space))
    if "Kandinsky" in backend.name:
        wide = settings.encoder_hid_dim
    if "unCLIP" in backend.name:
        wide = settings.projection_class_embeddings_input_dim // 2
    assert wide in (None, backend.space.width)
    assert json.dumps(backend.unet)  # plain settings


class Gradients:
    """A generator of which picture n is grey n / 20."""

    uses_start = False

    def generate(self, tokens: Any, *, seeds: list[int], start: Any = None) -> Any:
        return torch.tensor(seeds).view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 20


@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 64])
def test_picking_as_candidates_come_is_picking_at_the_end(batch_size: int) -> None:
    encoder: Any = tiny.Embeds(2, 6)
    encoder.map = drawn(3, 12) * torch.tensor([[1.0], [0.0], [0.0]])
    brain = drawn(4, 2, 6, seed=5)
    given: Any = {"seeds": list(range(12)), "start": None, "batch_size": batch_size, "name": "t"}
    drawer: Any = Gradients()
    batches = list(draw_batches(drawer, torch.zeros(12, 1, 1), **given))
    wanted = pick_by_brain(torch.cat(batches), brain, encoder, candidates=3, batch_size=12)
    parts = list(pick_streamed(iter(batches), brain, Choice(encoder, 3)))
    assert torch.equal(torch.cat([p.images for p in parts]), wanted.images)
    assert torch.equal(torch.cat([p.pick for p in parts]), wanted.pick)
    assert torch.allclose(torch.cat([p.scores for p in parts]), wanted.scores)


def test_the_pick_can_be_by_the_pooled_token_or_none() -> None:
    class Two:
        """Candidate 0 is right in its class token, candidate 1 in the other, larger token."""

        tokens, width, has_class_token = 2, 2, True

        def encode(self, images: Any) -> Any:
            return torch.tensor([[[1.0, 0.0], [0.0, 9.0]], [[0.0, 1.0], [9.0, 0.0]]])

    encoder: Any = Two()
    brain, images = torch.tensor([[[1.0, 0.0], [9.0, 0.0]]]), torch.rand(2, 3, 4, 4)
    picks = {}
    for by in ("tokens", "pooled", "first"):
        (found,) = pick_streamed([images], brain, Choice(encoder, 2, by))  # type: ignore[arg-type]
        picks[by] = int(found.pick)
    assert picks == {"tokens": 1, "pooled": 0, "first": 0}


def test_a_blend_mixes_by_its_share() -> None:
    mixed = blend(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 4, 4), 0.25)
    assert mixed.shape == (1, 3, 8, 8)
    assert torch.allclose(mixed, torch.full_like(mixed, 0.75))
