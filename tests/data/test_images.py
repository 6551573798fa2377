"""Image files become upright RGB pictures of 8 bits, or are refused in one line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindeye.data.images import as_picture, read_picture, resize, resized, to_images, to_pictures
from mindeye.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(image: Image.Image, path: Path, **how: object) -> Path:
    image.save(path, **how)  # type: ignore[arg-type]
    return path


def test_8_bit_colours_and_grey_are_not_changed(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(
            read_picture(saved(Image.fromarray(RGB), tmp_path / name)), RGB
        )
    grey = read_picture(saved(Image.fromarray(RGB[..., 0]), tmp_path / "g.png"))
    np.testing.assert_array_equal(grey, np.repeat(RGB[..., :1], 3, axis=-1))


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    path = saved(Image.fromarray(RGB), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(path), np.rot90(RGB, -1))


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    alpha = np.full((5, 7, 1), 255, dtype=np.uint8)
    alpha[0] = 0
    picture = read_picture(
        saved(Image.fromarray(np.concatenate([RGB, alpha], axis=-1)), tmp_path / "a.png")
    )
    assert (picture[0] == 255).all()
    np.testing.assert_array_equal(picture[1:], RGB[1:])


def test_palettes_and_cmyk_become_rgb(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read_picture(saved(palette, tmp_path / "p.png")), expected)
    flat = Image.new("CMYK", (4, 3), (0, 255, 255, 0))
    assert (read_picture(saved(flat, tmp_path / "c.tif")) == [255, 0, 0]).all()


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 128 * 257, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        picture = read_picture(saved(Image.fromarray(deep), tmp_path / name))
        assert picture[0, :, 0].tolist() == [0, 128, 255]


def test_what_is_no_single_picture_is_refused_by_name(tmp_path: Path) -> None:
    pages = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"a\.tif holds 2 pages"):
        read_picture(path)
    floats = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "f.tif")
    with pytest.raises(DataError, match="floating point"):
        read_picture(floats)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png is not a readable image"):
        read_picture(tmp_path / "b.png")
    whole = saved(Image.fromarray(RGB), tmp_path / "w.png").read_bytes()
    with pytest.raises(DataError, match="torn is not a readable image"):
        read_picture(io.BytesIO(whole[:60]), name="torn")
    with pytest.raises(DataError, match="not a readable image"):
        read_picture(io.BytesIO(whole), name="w", formats=("JPEG",))


def test_arrays_in_memory_are_pictures_or_are_refused() -> None:
    np.testing.assert_array_equal(as_picture(RGB, "x"), RGB)
    np.testing.assert_array_equal(as_picture(Image.fromarray(RGB), "x"), RGB)
    assert as_picture(RGB[..., 0], "x").shape == (5, 7, 3)
    for wrong in (RGB / 255, RGB[0, 0], np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(DataError, match="x has shape"):
            as_picture(wrong, "x")


def test_pictures_survive_images_and_resizing_keeps_what_has_the_size() -> None:
    images = to_images(RGB[None])
    np.testing.assert_array_equal(to_pictures(images)[0], RGB)
    assert resize(images, (5, 7)) is images
    assert resize(images, 4).shape == (1, 3, 4, 4)
    assert resized(RGB, 0) is RGB
    assert resized(RGB, 3).shape == (3, 3, 3)
