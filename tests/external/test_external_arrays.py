"""Claims about arrays of pictures from outside: layouts, ranges, files, and what is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mindeye.errors import DataError
from mindeye.external.pictures import Pictures, Reading
from mindeye.external.reading import open_pictures

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (5, 16, 12, 3), dtype=np.uint8)
UNIT = torch.from_numpy(CODES).permute(0, 3, 1, 2).float() / 255


def saved(folder: Path, array: Any, name: str = "a.npy") -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        torch.save(array, path)
    return path


def whole(pictures: Pictures) -> torch.Tensor:
    return pictures.images(range(len(pictures)))


def refused(path: Path, reading: Reading | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_pictures(path, reading)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def layouts() -> dict[str, Any]:
    unit = UNIT.numpy()
    return {
        "bytes, channels last": CODES,
        "bytes, channels first": CODES.transpose(0, 3, 1, 2),
        "float 0..1, first": unit,
        "float 0..1, last": unit.transpose(0, 2, 3, 1),
        "big-endian float": unit.astype(">f4"),
        "fortran order": np.asfortranarray(CODES),
        "first of candidates": np.stack([unit, 1 - unit], axis=1),
        "opaque alpha": np.concatenate([CODES, np.full((5, 16, 12, 1), 255, np.uint8)], -1),
    }


@pytest.mark.parametrize("kind", layouts())
def test_every_layout_and_type_gives_the_same_pictures(tmp_path: Path, kind: str) -> None:
    pictures = open_pictures(saved(tmp_path, layouts()[kind]))
    assert pictures.sizes == ((16, 12),) * 5
    assert torch.equal(whole(pictures), UNIT)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_bytes_in_another_type_need_their_range_and_give_the_same_pictures(
    tmp_path: Path, dtype: type
) -> None:
    path = saved(tmp_path, CODES.astype(dtype))
    assert "--range 0..255" in refused(path)
    assert torch.equal(whole(open_pictures(path, Reading("0..255"))), UNIT)


def files() -> dict[str, Any]:
    return {
        "plain.pt": UNIT,
        "one_entry.pt": {"recons": UNIT, "epoch": 3},
        "list.pt": list(UNIT),
        "list_of_batches.pt": [one[None] for one in UNIT],
        "double.pth": UNIT.double(),
        "bytes.pt": torch.from_numpy(CODES),
        "a_view.pt": torch.stack([UNIT, 1 - UNIT], dim=1)[:, 0],
    }


@pytest.mark.parametrize("name", files())
def test_every_way_of_saving_a_tensor_gives_the_same_pictures(tmp_path: Path, name: str) -> None:
    assert torch.equal(whole(open_pictures(saved(tmp_path, files()[name], name))), UNIT)


def test_tensors_of_before_torch_1_6_and_other_files(tmp_path: Path) -> None:
    torch.save(UNIT, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.savez_compressed(tmp_path / "a.npz", recons=UNIT.numpy(), ids=np.arange(5))
    save_file({"recons": UNIT.contiguous(), "ids": torch.arange(5)}, tmp_path / "a.safetensors")
    for name in ("old.pt", "a.npz", "a.safetensors"):
        pictures = open_pictures(tmp_path / name)
        assert torch.equal(whole(pictures), UNIT)
        assert name == "old.pt" or "'recons' of 2" in pictures.notes[0]


def test_the_published_layout_in_half_precision_with_overshoot_is_clipped_and_said(
    tmp_path: Path,
) -> None:
    # What Reconstruction_Metrics of the authors expects, and clamps to [0, 1].
    published = (UNIT * 1.04 - 0.02).half()
    pictures = open_pictures(
        saved(tmp_path, published, "subj01_brain_recons_img2img0.85_16samples.pt")
    )
    assert torch.equal(whole(pictures), published.float().clamp(0, 1))
    assert "read as 0..1, detected; what lies outside is clipped" in pictures.notes[0]


def test_bfloat16_is_read(tmp_path: Path) -> None:
    pictures = open_pictures(saved(tmp_path, UNIT.bfloat16(), "a.pt"))
    assert torch.equal(whole(pictures), UNIT.bfloat16().float())


def test_range_of_minus_one_to_one_is_read_where_it_is_stated(tmp_path: Path) -> None:
    path = saved(tmp_path, UNIT.numpy() * 2 - 1)
    assert "--range -1..1" in refused(path)
    pictures = open_pictures(path, Reading("-1..1"))
    assert "read as -1..1, as --range says" in pictures.notes[0]
    assert torch.allclose(whole(pictures), UNIT, atol=1e-6)


def test_grey_arrays_get_three_channels_and_say_so(tmp_path: Path) -> None:
    for grey in (CODES[..., 0], CODES[..., :1]):
        pictures = open_pictures(saved(tmp_path, grey))
        assert torch.equal(whole(pictures), UNIT[:, :1].expand(-1, 3, -1, -1))
        assert "grey" in pictures.notes[-1]


def test_alpha_in_an_array_is_laid_over_white(tmp_path: Path) -> None:
    half = np.concatenate([CODES / 255.0, np.full((5, 16, 12, 1), 0.25)], axis=-1)
    path = saved(tmp_path, half)
    assert torch.allclose(whole(open_pictures(path)), 0.25 * UNIT + 0.75, atol=1e-6)
    assert torch.allclose(
        whole(open_pictures(path, Reading(alpha="black"))), 0.25 * UNIT, atol=1e-6
    )
    assert "--alpha refuse" in refused(path, Reading(alpha="refuse"))


def test_one_picture_alone_is_one_picture(tmp_path: Path) -> None:
    pictures = open_pictures(saved(tmp_path, CODES[0]))
    assert torch.equal(whole(pictures), UNIT[:1])
    assert "one colour picture" in pictures.notes[0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.clip(UNIT.numpy() * 255, 0, 1).round(), "--range 0..1 or --range 0..255"),
        (CODES // 200, "--range 0..1 or --range 0..255"),
        (np.zeros((2, 8, 8, 3)), "--range"),
        (UNIT.numpy() * 1.6, "neither bytes nor floats in 0..1"),
        ((UNIT.numpy() - 0.45) / 0.22, "latents and normalised values"),
        (CODES.astype(np.uint16) * 257, "neither bytes"),
        (np.concatenate([UNIT.numpy() * 255, UNIT.numpy()]), "neither bytes"),
    ],
)
def test_ambiguous_ranges_are_refused_with_the_flag_that_settles_them(
    tmp_path: Path, array: np.ndarray[Any, Any], words: str
) -> None:
    path = saved(tmp_path, array)
    assert words in refused(path)
    assert "--stimuli-range" in refused(path, Reading(flag="--stimuli-range"))


def test_a_stated_range_settles_what_is_ambiguous_and_must_hold_the_values(tmp_path: Path) -> None:
    dark = saved(tmp_path, CODES // 200)
    assert whole(open_pictures(dark, Reading("0..1"))).max() == 1
    assert whole(open_pictures(dark, Reading("0..255"))).max() == pytest.approx(1 / 255)
    assert whole(open_pictures(dark, Reading("-1..1"))).min() == 0.5
    assert "not in 0..1" in refused(saved(tmp_path, CODES), Reading("0..1"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_names_its_picture(tmp_path: Path, bad: float) -> None:
    array = UNIT.numpy().copy()
    array[3, 1, 2, 3] = bad
    assert "picture 3 holds NaN or infinity in 1 of 576" in refused(saved(tmp_path, array))
    assert "picture 3" in refused(saved(tmp_path, torch.from_numpy(array), "a.pt"))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 8, 8, 3), "empty"),
        ((5, 0, 8, 3), "empty"),
        ((5, 3, 8, 3), "both its second and its last"),
        ((5, 8, 8, 2), "neither its second nor its last"),
        ((3, 8, 8), "one colour picture or 3 grey"),
        ((5, 8), "shape (5, 8)"),
        ((), "shape ()"),
        ((1, 1, 1, 1, 1, 1), "shape"),
    ],
)
def test_shapes_that_fit_nothing_or_two_things(
    tmp_path: Path, shape: tuple[int, ...], words: str
) -> None:
    assert words in refused(saved(tmp_path, np.full(shape, 0.5)))


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_pickles_are_never_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    torch.save(Evil(trap), tmp_path / "new.pt")
    torch.save(Evil(trap), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil(trap)))
    for name in ("new.pt", "old.pt", "bare.pt"):
        refused(tmp_path / name)
    assert "never done" in refused(tmp_path / "new.pt")
    np.save(tmp_path / "a.npy", np.array([Evil(trap)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Evil(trap)], dtype=object))
    refused(tmp_path / "a.npy")
    refused(tmp_path / "a.npz")
    assert not trap.exists()


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt", "safetensors"])
def test_torn_files_are_named_at_every_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, a=UNIT.numpy())
    elif suffix == "safetensors":
        save_file({"a": UNIT.contiguous()}, path)
    else:
        saved(tmp_path, UNIT.numpy() if suffix == "npy" else UNIT, path.name)
    content = path.read_bytes()
    for length in (0, 1, 9, 100, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:length])
        refused(path)
    path.write_bytes(b"\x00" * 500)
    refused(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": UNIT, "b": UNIT}, "2 arrays that could be the pictures (a (5, 3, 16, 12)"),
        ({"epoch": 3}, "no pictures"),
        ([], "list"),
        ([UNIT[0], UNIT[0, :, :8]], "of one shape"),
        ([UNIT[0], 3], "list"),
        ([UNIT, UNIT], "tensors (3, H, W)"),
        (3, "int"),
        (torch.complex(UNIT, UNIT), "complex64"),
        (UNIT.to_sparse(), "no plain array"),
        ({}, "nothing"),
    ],
)
def test_pt_files_of_something_else(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refused(saved(tmp_path, content, "a.pt"))


def test_unknown_kinds_and_text_name_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB")
    assert ".safetensors" in refused(tmp_path / "a.mat")
    np.save(tmp_path / "a.npy", np.array(["x", "y"]))
    assert "no numbers" in refused(tmp_path / "a.npy")


def test_an_archive_that_unpacks_to_more_than_the_memory_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header.getvalue() + b"\0" * 1000)
    assert "damaged" in refused(path)


def test_an_archive_of_other_things_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"not an array at all")
    refused(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.png", b"")
    assert "no pictures" in refused(tmp_path / "a.npz")


def test_a_picture_of_absurd_size_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1, 9000, 9000, 3)).flush()
    assert "64 million pixels" in refused(path)
