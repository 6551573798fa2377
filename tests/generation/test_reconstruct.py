from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.data.images import to_images
from mindeye.data.scenes import draw_scene, make_scenes
from mindeye.errors import ConfigError
from mindeye.generation.generators import Generator, load_generator
from mindeye.generation.reconstruct import candidate_seeds, draw_candidates, pick_by_brain
from mindeye.targets.autoencoders import load_autoencoder
from mindeye.targets.encoders import PixelEncoder, load_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return to_images(np.stack([draw_scene(s) for s in make_scenes(12, 98)]))


@pytest.fixture(scope="module")
def tokens(images: Tensor) -> Tensor:
    return load_encoder("zoo", device=CPU).encode(images)


def generator(
    *, guidance: float = 2.0, strength: float = 0.5, steps: int = 6, precision: str = "bf16"
) -> Generator:
    config = ReconstructConfig(
        guidance=guidance, strength=strength, steps=steps, precision=precision  # type: ignore[arg-type]
    )  # fmt: skip
    made = load_generator(
        "zoo",
        load_encoder("zoo", device=CPU),
        load_autoencoder("zoo", device=CPU),
        config=config,
        device=CPU,
    )
    assert made is not None
    return made


def test_a_picture_does_not_change_with_the_batch_it_is_drawn_in(tokens: Tensor) -> None:
    drawer = generator(precision="fp32")
    together = drawer.generate(tokens[:4], seeds=[1, 2, 3, 4])
    alone = drawer.generate(tokens[2:3], seeds=[3])
    assert (together[2:3] - alone).abs().max() < 1e-5
    rounded = generator()
    both = [rounded.generate(tokens[:4], seeds=[1, 2, 3, 4])[2:3],
            rounded.generate(tokens[2:3], seeds=[3])]  # fmt: skip
    assert (both[0] - both[1]).abs().mean() < 0.01  # bf16 sums in another order


def test_another_seed_draws_another_picture(tokens: Tensor) -> None:
    drawer = generator()
    one, other = drawer.generate(tokens[:1].repeat(2, 1, 1), seeds=[1, 2])
    assert (one - other).abs().mean() > 0.01


def test_pictures_from_true_tokens_show_their_own_scene(images: Tensor, tokens: Tensor) -> None:
    drawn = generator(steps=12).generate(tokens, seeds=list(range(12)))
    encoder = load_encoder("zoo", device=CPU)
    again = torch.nn.functional.normalize(encoder.encode(drawn)[:, 0], dim=-1)
    hits = (again @ tokens[:, 0].T).argmax(dim=1) == torch.arange(12)
    assert hits.float().mean() >= 0.75  # chance is 1 / 12


def test_a_low_strength_keeps_the_start(images: Tensor, tokens: Tensor) -> None:
    vae = load_autoencoder("zoo", device=CPU)
    start = vae.encode(images)
    wrong = tokens.roll(1, dims=0)  # tokens of another picture

    def distance(strength: float) -> float:
        drawn = generator(strength=strength, steps=10).generate(
            wrong, seeds=list(range(12)), start=start
        )
        return float((drawn - images).square().mean())

    near, far = distance(0.2), distance(0.9)
    assert near < 0.5 * far


class TwoColours:
    """A generator of which candidate 0 is red and candidate 1 is blue, whatever the tokens."""

    uses_start = False

    def generate(self, tokens: Tensor, *, seeds: list[int], start: Tensor | None = None) -> Tensor:
        made = torch.zeros(len(seeds), 3, 8, 8)
        for row, seed in enumerate(seeds):
            made[row, 0 if seed % 2 == 0 else 2] = 1
        return made


class ColourEncoder:
    """Embeds a picture as its mean colour."""

    id, tokens, width, fingerprint = "colour", 1, 3, "c"
    has_class_token = True

    def encode(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))[:, None]


def test_the_pick_follows_the_brain() -> None:
    seeds = [0, 1, 0, 1]
    drawn = draw_candidates(
        TwoColours(), torch.zeros(4, 1, 3), seeds=seeds, start=None, batch_size=3, name="t"
    )
    brain = torch.tensor([[[0.0, 0.0, 5.0]], [[2.0, 0.1, 0.0]]])  # blue, red
    picked = pick_by_brain(drawn, brain, ColourEncoder(), candidates=2, batch_size=3)
    assert picked.pick.tolist() == [1, 0]
    assert picked.images[0, 2].mean() == 1
    assert picked.images[1, 0].mean() == 1
    assert picked.scores[0, 1] == pytest.approx(1.0)


def test_seeds_are_distinct_over_stimuli_candidates_and_purposes() -> None:
    seeds = [s for purpose in range(4) for s in candidate_seeds(3, 300, 16, purpose)]
    assert len(set(seeds)) == len(seeds)
    assert candidate_seeds(3, 5, 4, 1) == candidate_seeds(3, 300, 4, 1)[:20]


def test_a_generator_that_does_not_fit_is_refused() -> None:
    vae = load_autoencoder("zoo", device=CPU)
    given = {"config": ReconstructConfig(steps=2), "device": CPU}
    with pytest.raises(ConfigError, match=r"takes embeddings of 65 x 64.*fit the encoder: none"):
        load_generator("zoo", PixelEncoder(28, 4), vae, **given)
    encoder, pixels = load_encoder("zoo", device=CPU), load_autoencoder("pixels:64", device=CPU)
    with pytest.raises(ConfigError, match="draws latents of"):
        load_generator("zoo", encoder, pixels, **given)
    with pytest.raises(ConfigError, match="known: zoo, pixels, ip_adapter"):
        load_generator("vd", PixelEncoder(28, 4), vae, **given)
