"""Every back-end against the library's own pipeline, on tiny models saved and loaded again.

Bit for bit in float32: same embeddings, same noise, same latents.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_generators as tiny
import torch
from diffusers import (
    KandinskyV22Img2ImgPipeline,
    KandinskyV22Pipeline,
    StableDiffusionImageVariationPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
    VersatileDiffusionImageVariationPipeline,
)
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.generation.generators import LatentGenerator, load_generator
from mindeye.generation.generators.conditions import CrossAttention
from mindeye.generation.generators.loop import load_scheduler
from mindeye.targets.autoencoders import Autoencoder, PixelAutoencoder, load_autoencoder
from mindeye.targets.encoders import load_encoder

CPU = torch.device("cpu")
SEEDS = [11, 12]
SCHEDULERS = ["unipc", "ddim", "dpmpp", "euler", "pndm"]
STRENGTHS = [0.85, 0.5, 0.15]
NOWHERE = PixelAutoencoder(16)


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def config(**more: Any) -> ReconstructConfig:
    given = {"steps": 8, "guidance": 3.0, "precision": "fp32", "strength": 0.5, **more}
    return ReconstructConfig(**given)  # type: ignore[arg-type]


def loaded(
    name: str, encoder: Any, settings: ReconstructConfig, vae: Autoencoder = NOWHERE
) -> LatentGenerator:
    made = load_generator(name, encoder, vae, config=settings, device=CPU)
    assert isinstance(made, LatentGenerator)
    return made


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def silent(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def from_latents(drawer: LatentGenerator, tokens: Tensor, start: Tensor) -> Tensor:
    """Draw from latents of the generator's own space, as the pipelines take them."""
    drawer.start = lambda latents: latents  # type: ignore[assignment,misc]
    drawer.vae = drawer.own  # type: ignore[assignment]
    return drawer.draw(tokens, seeds=SEEDS, start=start)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write each tiny model once."""
    root = tmp_path_factory.mktemp("tiny")

    def get(kind: str) -> Path:
        path = root / kind
        if not path.is_dir():
            if kind in ("sd15", "sdxl"):
                tiny.text_to_image(path, xl=kind == "sdxl")
                tiny.adapter(root / f"{kind}.safetensors", path)
            else:
                getattr(tiny, kind)(path)
        return path

    return get


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_loop_is_the_librarys_img2img(
    scheduler: str, strength: float, folder: Callable[[str], Path]
) -> None:
    path, steps = folder("versatile"), 20
    settings = config(scheduler=scheduler, strength=strength, steps=steps)
    drawer = loaded(str(path), tiny.Embeds(10, tiny.WIDTH, "class"), settings)
    tokens, start = drawn(2, 10, tiny.WIDTH) / 3, drawn(2, 4, 8, 8, seed=2)
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=tiny.autoencoder(), text_encoder=None, tokenizer=None,
        unet=UNet2DConditionModel.from_pretrained(path, subfolder="image_unet"),
        scheduler=load_scheduler(path, scheduler), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    wanted = silent(pipeline)(
        prompt_embeds=tokens, negative_prompt_embeds=torch.zeros_like(tokens), image=start,
        strength=strength, num_inference_steps=steps, guidance_scale=3.0, generator=generators(),
        output_type="latent",
    ).images  # fmt: skip
    found = from_latents(drawer, tokens, start)
    assert (found - wanted).abs().max() == 0
    assert (found - start).abs().max() > 1e-3


@pytest.mark.parametrize("scheduler", ["unipc", "pndm"])
def test_versatile_diffusion_is_its_pipeline_from_our_encoders_tokens(
    scheduler: str, folder: Callable[[str], Path]
) -> None:
    path = folder("versatile")
    encoder = load_encoder(str(path / "image_encoder"), device=CPU)
    settings = config(scheduler=scheduler, unconditional="image")
    drawer = loaded(str(path), encoder, settings)
    pipeline = VersatileDiffusionImageVariationPipeline(
        image_feature_extractor=tiny.processor(), image_encoder=tiny.vision(),
        image_unet=tiny.unet(), vae=tiny.autoencoder(), scheduler=load_scheduler(path, scheduler),
    )  # fmt: skip
    codes = (torch.rand(2, 3, 30, 30, generator=torch.Generator().manual_seed(3)) * 255).round()
    both = pipeline._encode_prompt(codes.to(torch.uint8), CPU, 1, True, None)
    tokens = encoder.encode(codes / 255)
    empty = drawer.condition.unconditional  # type: ignore[attr-defined]
    assert (tokens - both[2:]).abs().max() < 1e-5  # the two ways to prepare a picture
    assert (empty - both[:1]).abs().max() < 1e-5  # the nearly black picture
    black = encoder.encode(torch.zeros(1, 3, 30, 30))
    grey = encoder.encode(torch.full((1, 3, 30, 30), 0.5))
    assert (empty - black).abs().max() < 0.1 * (empty - grey).abs().max()

    wanted = silent(pipeline)(
        codes.to(torch.uint8), num_inference_steps=8, guidance_scale=3.0, generator=generators(),
        output_type="latent",
    ).images  # fmt: skip
    # from the pipeline's own tokens, so that only the loop is compared
    drawer.condition = CrossAttention(drawer.space, both[:1])
    assert (drawer.draw(both[2:], seeds=SEEDS) - wanted).abs().max() == 0


def test_sd_image_variations_are_its_pipeline(folder: Callable[[str], Path]) -> None:
    path = folder("variation")
    pipeline = silent(StableDiffusionImageVariationPipeline.from_pretrained(path))
    pixels = drawn(2, 3, 30, 30)
    tokens = pipeline.image_encoder(pixels).image_embeds[:, None] * 10
    pipeline._encode_image = lambda *_: torch.cat([torch.zeros_like(tokens), tokens])
    wanted = pipeline(
        pixels, height=64, width=64, num_inference_steps=8, guidance_scale=3.0,
        generator=generators(), output_type="latent",
    ).images  # fmt: skip
    for unconditional in ("zeros", "image"):  # the same thing for this pipeline
        settings = config(scheduler="ddim", unconditional=unconditional)
        drawer = loaded(str(path), tiny.Embeds(1, tiny.WIDTH), settings)
        assert (drawer.draw(tokens.detach(), seeds=SEEDS) - wanted).abs().max() == 0


def test_kandinsky_is_its_pipeline(folder: Callable[[str], Path]) -> None:
    path = folder("kandinsky")
    encoder = tiny.Embeds(1, tiny.KANDINSKY_WIDTH)
    drawer = loaded(str(path), encoder, config(scheduler="ddpm", unconditional="image"))
    tokens = drawn(2, 1, tiny.KANDINSKY_WIDTH)
    empty = drawer.condition.unconditional  # type: ignore[attr-defined]
    mean_colour = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    assert (empty - encoder.encode(mean_colour)).abs().max() < 1e-5
    parts = {"unet": drawer.unet, "movq": drawer.own.module}  # type: ignore[union-attr]
    plain = KandinskyV22Pipeline(scheduler=load_scheduler(path, "ddpm"), **parts)
    more = {
        "image_embeds": tokens[:, 0], "negative_image_embeds": empty[0].expand(2, -1),
        "guidance_scale": 3.0, "num_inference_steps": 8, "output_type": "latent",
    }  # fmt: skip
    wanted = silent(plain)(height=64, width=64, generator=generators(), **more).images
    assert (drawer.draw(tokens, seeds=SEEDS) - wanted).abs().max() == 0

    changed = KandinskyV22Img2ImgPipeline(scheduler=load_scheduler(path, "ddpm"), **parts)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    wanted = silent(changed)(
        image=[images[:1] * 2 - 1, images[1:] * 2 - 1], height=64, width=64, strength=0.5,
        generator=generators(), **more,
    ).images  # fmt: skip
    latents = drawer.own.module.encode(images * 2 - 1).latents  # type: ignore[union-attr]
    assert (drawer.own.encode(images) - latents).abs().max() == 0  # type: ignore[union-attr]
    found = from_latents(drawer, tokens, latents.detach())
    assert (found - wanted).abs().max() == 0


def test_kandinsky_with_any_scheduler(folder: Callable[[str], Path]) -> None:
    path, tokens = folder("kandinsky"), drawn(2, 1, tiny.KANDINSKY_WIDTH)
    for scheduler in [*SCHEDULERS, "ddpm"]:  # the library's pipeline fails with most of them
        settings = config(scheduler=scheduler)
        drawer = loaded(str(path), tiny.Embeds(1, tiny.KANDINSKY_WIDTH), settings)
        found = drawer.draw(tokens, seeds=SEEDS)
        assert found.shape == (2, 4, 8, 8)
        assert torch.isfinite(found).all()
        assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_an_ip_adapter_is_its_pipeline(base: str, folder: Callable[[str], Path]) -> None:
    path = folder(base)
    weights = path.with_suffix(".safetensors")
    name = f"ip_adapter:{path}:{weights}"
    drawer = loaded(name, tiny.Embeds(1, tiny.WIDTH), config(scheduler="ddim"))
    tokens, start = drawn(2, 1, tiny.WIDTH), drawn(2, 4, 8, 8, seed=2)
    prompt = torch.zeros(1, 77, tiny.PROMPT_WIDTH)
    more: dict[str, Any] = {
        "prompt_embeds": prompt, "negative_prompt_embeds": prompt, "guidance_scale": 3.0,
        "num_inference_steps": 8, "output_type": "latent",
    }  # fmt: skip
    parts: dict[str, Any] = {
        "vae": drawer.own.module,  # type: ignore[union-attr]
        "unet": tiny.unet(**(tiny.SDXL if base == "sdxl" else {"cross_attention_dim": 24})),
        "scheduler": load_scheduler(path, "ddim"), "text_encoder": None, "tokenizer": None,
    }  # fmt: skip
    if base == "sdxl":
        pooled = torch.zeros(1, 12)
        more |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled}
        parts |= {"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False}
        kinds = (StableDiffusionXLPipeline, StableDiffusionXLImg2ImgPipeline)
    else:
        parts |= {"safety_checker": None, "feature_extractor": None}
        parts |= {"requires_safety_checker": False}
        kinds = (StableDiffusionPipeline, StableDiffusionImg2ImgPipeline)
    plain = silent(kinds[0](**parts))
    plain.load_ip_adapter(
        weights.parent, subfolder="", weight_name=weights.name, image_encoder_folder=None
    )

    # One picture at a time: given a batch, these pipelines repeat its embeddings by its length and
    # attend to other pictures' without a word.
    def wanted(pipeline: Any, row: int, **given: Any) -> Tensor:
        pair = torch.cat([torch.zeros(1, 1, tiny.WIDTH), tokens[row : row + 1]])
        return pipeline(
            ip_adapter_image_embeds=[pair], generator=generators()[row : row + 1], **more, **given
        ).images

    changed = silent(kinds[1](**parts))
    together = drawer.draw(tokens, seeds=SEEDS)
    assert (together[0] - together[1]).abs().max() > 1e-4
    near = from_latents(drawer, tokens, start)
    for row, one in enumerate((slice(0, 1), slice(1, 2))):
        found = drawer.draw(tokens[one], seeds=SEEDS[one])
        assert (found - wanted(plain, row, height=64, width=64)).abs().max() == 0
        assert (found - together[one]).abs().max() < 1e-4  # of latents that reach 10
        found = drawer.draw(tokens[one], seeds=SEEDS[one], start=start[one])
        assert (found - wanted(changed, row, image=start[one], strength=0.5)).abs().max() == 0
        assert (found - near[one]).abs().max() < 1e-4


def test_unclip_is_its_pipeline_and_starts_from_latents_too(folder: Callable[[str], Path]) -> None:
    path = folder("unclip")
    drawer = loaded(str(path), tiny.Embeds(1, tiny.WIDTH), config(scheduler="ddim"))
    tokens, start = drawn(2, 1, tiny.WIDTH), drawn(2, 4, 8, 8, seed=2)
    prompt = torch.zeros(2, 77, tiny.PROMPT_WIDTH)
    from diffusers import DDPMScheduler
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

    pipeline = StableUnCLIPImg2ImgPipeline(
        feature_extractor=None, image_encoder=tiny.vision(), tokenizer=None, text_encoder=None,
        image_normalizer=StableUnCLIPImageNormalizer.from_pretrained(
            path, subfolder="image_normalizer"
        ),
        image_noising_scheduler=DDPMScheduler.from_pretrained(
            path, subfolder="image_noising_scheduler"
        ),
        unet=tiny.unet(
            cross_attention_dim=tiny.PROMPT_WIDTH, class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * tiny.WIDTH,
        ),
        scheduler=load_scheduler(path, "ddim"), vae=drawer.own.module,  # type: ignore[union-attr]
    )  # fmt: skip
    wanted = silent(pipeline)(
        image_embeds=tokens[:, 0], prompt_embeds=prompt, negative_prompt_embeds=prompt,
        guidance_scale=3.0, num_inference_steps=8, generator=generators(), output_type="latent",
        height=64, width=64,
    ).images  # fmt: skip
    found = drawer.draw(tokens, seeds=SEEDS)
    assert (found - wanted).abs().max() == 0
    # the pipeline knows no start: at a low strength ours stays near it
    drawer.plan = type(drawer.plan)(steps=20, strength=0.05, guidance=3.0)
    near = from_latents(drawer, tokens, start)
    assert (near - start).abs().mean() < 0.2 * (found - start).abs().mean()


KINDS = {
    "versatile": (10, tiny.WIDTH, "class"),
    "variation": (1, tiny.WIDTH, "none"),
    "kandinsky": (1, tiny.KANDINSKY_WIDTH, "none"),
    "sd15": (1, tiny.WIDTH, "none"),
    "sdxl": (1, tiny.WIDTH, "none"),
    "unclip": (1, tiny.WIDTH, "none"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_same_alone_and_in_any_batch(
    kind: str, folder: Callable[[str], Path]
) -> None:
    tokens_count, width, norm = KINDS[kind]
    path = folder(kind)
    name = f"ip_adapter:{path}:{path}.safetensors" if kind.startswith("sd") else str(path)
    scheduler = "ddpm" if kind == "kandinsky" else "unipc"  # ddpm draws noise at every step
    tokens = drawn(5, tokens_count, width) / (3 if norm == "class" else 1)
    run = load_autoencoder(str(folder("versatile") / "vae"), device=CPU)
    start = drawn(5, 4, 8, 8, seed=2)
    seeds = [3, 4, 5, 6, 7]

    def pictures(batch_size: int, rows: list[int]) -> Tensor:
        settings = config(scheduler=scheduler, batch_size=batch_size, steps=4, guidance=2.0)
        drawer = loaded(name, tiny.Embeds(tokens_count, width, norm), settings, run)
        return drawer.generate(tokens[rows], seeds=[seeds[r] for r in rows], start=start[rows])

    together = pictures(64, [0, 1, 2, 3, 4])
    assert together.shape == (5, 3, 64, 64)
    assert together.min() >= 0
    assert together.max() <= 1
    assert together.std() > 1e-3
    assert (pictures(2, [0, 1, 2, 3, 4]) - together).abs().max() < 1e-5
    assert (pictures(64, [3]) - together[3:4]).abs().max() < 1e-5
    assert (pictures(3, [4, 2, 0]) - together[[4, 2, 0]]).abs().max() < 1e-5
