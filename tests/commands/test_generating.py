"""Any embedding file becomes pictures: the run's own, or none and a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from mindeye.commands.exporting import ExportEmbeddingsConfig, export_embeddings
from mindeye.commands.generating import generate
from mindeye.config.generate import GenerateConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError, DataError, MindEyeError, UsageError
from mindeye.files import read_json
from mindeye.runs import Workspace, run_all, start_run
from mindeye.targets.encoders import load_encoder
from small_zoo_run import WORDS

FEW = {"steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def work(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("generating") / "run"
    work = start_run(run_config({}, WORDS), small_subject.path, folder)
    run_all(work, until="reconstruct")
    return work


@pytest.fixture(scope="module")
def exported(work: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "out"
    export_embeddings(work, folder, ExportEmbeddingsConfig(stimuli=4))
    return folder


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """True embeddings (5, 65, 64) of noise."""
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    return load_encoder("zoo", device=torch.device("cpu")).encode(images).numpy()


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {
        p.stem: np.asarray(Image.open(p)) for p in folder.glob("*.png") if p.stem != "contact_sheet"
    }


@pytest.mark.parametrize("start", [False, True])
def test_an_export_gives_the_very_pictures_of_the_run(
    work: Workspace, exported: Path, tmp_path: Path, start: bool
) -> None:
    latents = str(exported / "latents.npy") if start else ""
    # All twelve at once as the run draws them, so that not even the last digit differs.
    generate(exported, tmp_path / "out", GenerateConfig(start=latents, steps=3, batch_size=64))
    found, name = pictures(tmp_path / "out"), "both" if start else "high"
    assert len(found) == 12
    picked = np.load(work.folder / "reconstruct" / f"{name}_pick.npy")
    drawn = np.load(work.folder / "reconstruct" / f"{name}.npy")
    for row, stimulus in enumerate(work.drawn_ids):
        np.testing.assert_array_equal(found[f"{stimulus}_{picked[row]}"], drawn[row])


def test_a_picture_changes_with_its_seed_and_not_with_its_batch(
    tokens: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "tokens.npy", tokens.astype(np.float16))
    for name, more in {
        "one": {"batch_size": 1}, "four": {}, "seeded": {"seed": 1}, "two": {"candidates": 2},
    }.items():  # fmt: skip
        generate(
            tmp_path / "tokens.npy", tmp_path / name, GenerateConfig(**{**FEW, **more}),  # type: ignore[arg-type]
        )  # fmt: skip
    one, four, seeded, two = (pictures(tmp_path / n) for n in ("one", "four", "seeded", "two"))
    assert sorted(four) == [f"{i:06d}" for i in range(5)]
    assert len(two) == 10
    for name, picture in four.items():
        assert np.abs(one[name].astype(int) - picture).max() <= 3  # bf16 products
        assert np.abs(two[f"{name}_s0"].astype(int) - picture).max() <= 3
        for other in (seeded[name], two[f"{name}_s1"]):
            assert np.abs(other.astype(int) - picture).mean() > 2
    content = read_json(tmp_path / "four" / "generate.json")
    assert content["finished"]
    assert content["pictures"] == 5
    assert (tmp_path / "four" / "contact_sheet.png").is_file()


def test_a_second_call_draws_only_what_is_missing(tokens: np.ndarray, tmp_path: Path) -> None:
    path, out = tmp_path / "tokens.npy", tmp_path / "out"
    np.save(path, tokens)
    generate(path, out, GenerateConfig(**FEW))  # type: ignore[arg-type]
    wanted = pictures(out)
    (out / "000003.png").unlink()
    Image.new("RGB", (64, 64)).save(out / "000001.png")  # is there, so it is kept
    generate(path, out, GenerateConfig(**FEW))  # type: ignore[arg-type]
    again = pictures(out)
    assert np.abs(again["000003"].astype(int) - wanted["000003"]).max() <= 3
    assert again["000001"].max() == 0
    with pytest.raises(DataError, match="other embeddings or settings"):
        generate(path, out, GenerateConfig(**{**FEW, "guidance": 3.0}))  # type: ignore[arg-type]
    np.save(path, tokens[::-1])
    with pytest.raises(DataError, match="other embeddings or settings"):
        generate(path, out, GenerateConfig(**FEW))  # type: ignore[arg-type]


def test_a_table_with_a_column_of_lists_is_read(tokens: np.ndarray, tmp_path: Path) -> None:
    """Pixel tokens of one patch: (N, D) vectors whose picture is known to the last grey value."""
    grey = np.random.default_rng(0).random((3, 64)).astype(np.float32)
    table = pa.table(
        {"key": ["a", "b-1", "c.2"], "caption": ["x", "y", "z"], "emb": [list(g) for g in grey]}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    config = GenerateConfig(generator="pixels", encoder="pixels:8:8", vae="pixels:8")
    generate(tmp_path / "t.parquet", tmp_path / "out", config)
    found = pictures(tmp_path / "out")
    assert sorted(found) == ["a", "b-1", "c.2"]
    for name, values in zip(("a", "b-1", "c.2"), grey, strict=True):
        np.testing.assert_array_equal(found[name][..., 1], (values.reshape(8, 8) * 255).round())


FAULTS = {
    "pooled": (lambda t: t[:, 0], "embeddings of 64, the generator zoo takes 65 x 64"),
    "width": (lambda t: t[..., :32], "65 x 32, the generator zoo takes 65 x 64"),
    "not divided": (
        lambda t: t * 20,
        "median norm of 20, the generator zoo takes 65 x 64",
    ),
    "divided by length": (lambda t: t * 0.01, r"median norm of 0\.01"),
    "a zero row": (lambda t: t * (np.arange(5) != 2)[:, None, None], "row 2: all values are zero"),
    "not a number": (lambda t: np.where(np.arange(5)[:, None, None] == 4, np.nan, t), "row 4"),
    "codes": (lambda t: (t * 100).astype(np.int16), "floats"),
    "a number": (lambda t: np.float32(3), "floats"),
    "none": (lambda t: t[:0], "floats"),
    "flat": (lambda t: t.reshape(5, -1), "embeddings of 4160"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_embeddings_that_do_not_fit_are_refused_by_name(
    tokens: np.ndarray, tmp_path: Path, fault: str
) -> None:
    change, message = FAULTS[fault]
    np.save(tmp_path / "e.npy", change(tokens))
    with pytest.raises(DataError, match=message):
        generate(tmp_path / "e.npy", tmp_path / "out", GenerateConfig())
    assert not (tmp_path / "out").exists()


def test_malformed_files_are_refused_by_name(tokens: np.ndarray, tmp_path: Path) -> None:
    def refused(name: str, message: str, config: GenerateConfig | None = None) -> None:
        with pytest.raises(MindEyeError, match=message):
            generate(tmp_path / name, tmp_path / "out", config or GenerateConfig())

    def write(name: str, **columns: object) -> str:
        parquet.write_table(pa.table(columns), tmp_path / name)
        return name

    unit = [[1.0, 0.0], [0.0, 1.0]]
    refused("absent.npy", "no embedding file")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    refused("torn.parquet", "not a readable parquet table")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    refused("objects.npy", "not a plain .npy array")
    (tmp_path / "e.txt").write_text("1 2 3")
    refused("e.txt", "no .npy, no .parquet")
    (tmp_path / "folder").mkdir()
    refused("folder", "no finished export")
    refused(write("out_of.parquet", id=["../../x", "b"], e=unit), "cannot name a picture")
    refused(write("twice.parquet", id=["a", "A"], e=unit), "rows 0 and 1: both are named")
    refused(write("two.parquet", e=unit, f=unit), "several columns")
    refused(write("no.parquet", id=["a", "b"]), "no column of lists of floats")
    refused("two.parquet", "no column 'g'", GenerateConfig(column="g"))
    refused(write("ragged.parquet", e=[[1.0], [1.0, 2.0]]), "row 1: 2 numbers, row 0 has 1")
    refused(write("null.parquet", e=[[1.0], None]), "row 1: no embedding")
    refused(write("empty.parquet", e=pa.array([], pa.list_(pa.float32()))), "no rows")


def test_contradictions_are_refused_by_name(
    tokens: np.ndarray, exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "e.npy"
    np.save(path, tokens)
    np.save(tmp_path / "start.npy", np.zeros((3, 32, 8, 8), dtype=np.float32))
    np.save(tmp_path / "wrong.npy", np.zeros((5, 4, 8, 8), dtype=np.float32))

    def refused(error: type[MindEyeError], message: str, **fields: object) -> None:
        with pytest.raises(error, match=message):
            generate(path, tmp_path / "out", GenerateConfig(**fields))  # type: ignore[arg-type]

    refused(UsageError, "whose embeddings", generator="/somewhere")
    refused(ConfigError, "unknown generator", generator="/nowhere", encoder="zoo", vae="zoo")
    refused(ConfigError, "candidates is 0", candidates=0)
    refused(ConfigError, "draws nothing", generator="none")
    refused(ConfigError, "strength is 1.5", strength=1.5)
    refused(DataError, "3 latents, the embeddings have 5", start=str(tmp_path / "start.npy"))
    refused(DataError, r"latents \(N, 32, 8, 8\)", start=str(tmp_path / "wrong.npy"))
    refused(DataError, "missing or not a plain", start=str(tmp_path / "absent.npy"))
    with pytest.raises(DataError, match=r"embeddings of zoo_clip, --encoder names pixels8"):
        generate(exported, tmp_path / "out", GenerateConfig(encoder="pixels:8:8"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        generate(path, tmp_path / "mine", GenerateConfig())
    damaged = tmp_path / "export"
    shutil.copytree(exported, damaged)
    np.save(damaged / "samples.npy", np.load(damaged / "samples.npy")[:-1])
    with pytest.raises(DataError, match="does not describe the 11 rows"):
        generate(damaged, tmp_path / "out", GenerateConfig())


def variation(folder: Path) -> Path:
    """A tiny pipeline of random weights, in the layout of SD image variations."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionImageVariationPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        attention_head_dim=4, cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4,) * 4, norm_num_groups=2, latent_channels=4, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=20, patch_size=10, projection_dim=12,
        )
    )  # fmt: skip
    processor = CLIPImageProcessor(size={"shortest_edge": 20}, crop_size=20)
    StableDiffusionImageVariationPipeline(
        vae=vae, image_encoder=encoder, unet=unet, scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None, feature_extractor=processor, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    processor.save_pretrained(folder / "image_encoder")
    return folder


def test_vectors_at_their_own_norm_are_drawn_at_it(tmp_path: Path) -> None:
    """SD image variations takes them so; the encoder here divides, and need not know the norm."""
    folder = variation(tmp_path / "variation")
    vectors = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = unit * np.array([[18.0], [20.0], [25.0]], dtype=np.float32)
    np.save(tmp_path / "unit.npy", unit)
    np.save(tmp_path / "own.npy", own)
    common = {
        "generator": str(folder), "encoder": str(folder / "image_encoder"), "steps": 2,
        "precision": "fp32",
    }  # fmt: skip

    def drawn(name: str, **more: object) -> dict[str, np.ndarray]:
        out = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        generate(tmp_path / f"{name}.npy", out, GenerateConfig(**common, **more))  # type: ignore[arg-type]
        return pictures(out)

    as_they_are, scaled = drawn("own"), drawn("unit", norm=20.0)
    np.testing.assert_array_equal(as_they_are["000001"], scaled["000001"])
    for name in ("000000", "000002"):  # their own norm is not the median
        assert (as_they_are[name] != scaled[name]).any()
    with pytest.raises(ConfigError, match="at their own norm"):
        drawn("unit")
