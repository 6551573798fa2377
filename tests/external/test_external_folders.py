"""Claims about folders of image files from outside: what is read, said, refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindeye.errors import DataError
from mindeye.external.pictures import Reading
from mindeye.external.reading import open_pictures

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def notes(folder: Path, reading: Reading | None = None) -> str:
    return " | ".join(open_pictures(folder, reading).notes)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_formats_give_the_same_bits(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PICTURE).save(tmp_path / f"a.{suffix}", lossless=True)
    image = open_pictures(tmp_path).read(0)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), PICTURE.astype(np.float32) / 255)


def test_jpeg_is_read_in_colour(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.JPG")
    image = open_pictures(tmp_path).read(0)
    assert np.allclose(image.amax(dim=(1, 2)).numpy() * 255, (200, 100, 50), atol=3)


def test_names_are_in_natural_order(tmp_path: Path) -> None:
    for name in ("10", "9", "1"):
        Image.fromarray(PICTURE).save(tmp_path / f"{name}.png")
    assert open_pictures(tmp_path).names == ("1", "9", "10")


def test_grey_palette_and_16_bits_are_converted_and_notes(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "2.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "3.png")
    pictures = open_pictures(tmp_path)
    for row in range(3):
        image = pictures.read(row).numpy()
        assert np.allclose(image, grey.astype(np.float32) / 255, atol=1e-6)
    text = notes(tmp_path)
    for word in ("1.png) are grey, copied", "2.png) are palettes", "3.png) are grey of 16 bits"):
        assert word in text


def test_alpha_is_laid_over_what_was_asked_for(tmp_path: Path) -> None:
    clear = np.zeros((16, 16, 4), np.uint8)
    clear[:8] = (255, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "a.png")
    for alpha, below in (("white", 1.0), ("black", 0.0)):
        reading = Reading(alpha=alpha)
        image = open_pictures(tmp_path, reading).read(0)
        assert image[0, 0, 0] == 1
        assert (image[:, 12] == below).all()
        assert f"laid over {alpha}" in notes(tmp_path, reading)
    with pytest.raises(DataError, match="--alpha refuse"):
        open_pictures(tmp_path, Reading(alpha="refuse"))


def test_orientation_of_a_photo_is_followed_and_notes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the file
    tall = np.zeros((8, 16, 3), np.uint8)
    tall[:, :8] = 255
    Image.fromarray(tall).save(tmp_path / "a.png", exif=exif)
    pictures = open_pictures(tmp_path)
    assert pictures.sizes == ((16, 8),)
    image = pictures.read(0)
    assert tuple(image.shape) == (3, 16, 8)
    assert bool((image[:, :8] == 1).all())
    assert "turned upright" in notes(tmp_path)


def test_hidden_and_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"mac")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more").mkdir()
    assert len(open_pictures(tmp_path)) == 1
    assert "2 files or folders that are no pictures" in notes(tmp_path)


def read_all(folder: Path) -> None:
    pictures = open_pictures(folder)
    pictures.images(range(len(pictures)), size=(16, 16))


def refused(folder: Path) -> str:
    """Return the message of opening and reading, one line."""
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_empty_folder_and_one_with_subfolders_only(tmp_path: Path) -> None:
    assert "holds no pictures" in refused(tmp_path)
    (tmp_path / "png").mkdir()
    assert "subfolders" in refused(tmp_path)


def test_two_pictures_of_one_name(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    assert "1.jpg and 1.png" in refused(tmp_path)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    assert "a.png is not a readable image" in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_truncated_image_at_every_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "a." in refused(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    (tmp_path / "a.png").write_bytes(content + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    refused(tmp_path)
    header = struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    (tmp_path / "a.png").write_bytes(content + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    assert "64 million pixels" in refused(tmp_path)


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert "2 pages" in refused(tmp_path)


def test_floats_in_a_tif_have_no_range(tmp_path: Path) -> None:
    Image.fromarray(PICTURE[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    assert "floating point values" in refused(tmp_path)


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    assert "link to nothing" in refused(tmp_path)


def test_one_picture_instead_of_a_folder_and_nothing_at_all(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    assert "folder it lies in" in refused(tmp_path / "a.png")
    assert "is not there" in refused(tmp_path / "nowhere")
