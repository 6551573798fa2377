"""Claims about pairing reconstructions with stimuli, and about the size at which they meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mindeye.errors import DataError
from mindeye.external.pairing import common_size, pair
from mindeye.external.pictures import Pictures, check_memory
from mindeye.external.reading import natural
from mindeye.metrics.pixels import resize_images

PLAIN: dict[str, Any] = {"size": 425, "as_published": False}


def opened(
    names: Sequence[str],
    *,
    named: bool = True,
    sizes: Sequence[tuple[int, int]] = ((8, 8),),
    at: str = "x",
) -> Pictures:
    """Pictures whose every value is their row / 100."""
    full = tuple(sizes) * (len(names) // len(sizes))

    def read(row: int) -> torch.Tensor:
        return torch.full((3, *full[row]), row / 100)

    return Pictures(Path(at), tuple(names), full, named, (), read)


def test_files_are_paired_by_name_in_whatever_order_they_come() -> None:
    rows, note = pair(opened(["a", "b", "c"]), opened(["c", "a", "b"], at="y"))
    assert rows == [1, 2, 0]
    assert "by file name" in note


def test_natural_order_is_taken_only_if_no_name_agrees_and_is_said() -> None:
    rows, note = pair(opened(["img1", "img2"]), opened(["rec1", "rec2"]))
    assert rows == [0, 1]
    assert "natural order, rec1 with img1 and so on (no file name agrees)" in note


def test_names_that_agree_in_part_are_refused_with_both_sides() -> None:
    with pytest.raises(DataError) as caught:
        pair(opened(["a", "b", "c"], at="stim"), opened(["a", "b", "d"], at="rec"))
    assert "1 stimuli have no picture in rec (first c)" in str(caught.value)
    assert "1 pictures have no stimulus in stim (first d)" in str(caught.value)


@pytest.mark.parametrize("named", [True, False])
def test_different_counts_are_refused(named: bool) -> None:
    with pytest.raises(DataError, match="holds 2 pictures, stim 3 stimuli"):
        pair(opened(["a", "b", "c"], at="stim"), opened(["0", "1"], named=named))


def test_fewer_pictures_of_agreeing_names_are_refused() -> None:
    with pytest.raises(DataError, match="first c"):
        pair(opened(["a", "b", "c"]), opened(["a", "b"]))


def test_rows_of_arrays_never_pair_by_their_numbers() -> None:
    rows, _ = pair(opened(["1", "0"]), opened(["0", "1"], named=False))
    assert rows == [0, 1]


def test_natural_order_counts() -> None:
    names = ["b2", "a10", "a9", "10", "9", "01"]
    assert sorted(names, key=natural) == ["01", "9", "10", "a9", "a10", "b2"]


def test_digits_of_other_scripts_do_not_break_the_order() -> None:
    assert sorted(["a²", "a١", "a1"], key=natural)[0] == "a1"


def test_pictures_keep_their_own_size_where_metrics_resize_by_themselves() -> None:
    found = common_size(opened("ab"), opened("ab", sizes=[(16, 16)]), (0, 1), **PLAIN)
    assert (found.stimuli, found.pictures) == (None, None)
    assert "x: 2 pictures, 16 x 16" in found.notes


def test_at_the_stimuli_s_own_size_reconstructions_come_to_it() -> None:
    found = common_size(
        opened("ab"), opened("ab", sizes=[(16, 16)]), (0, 1), **{**PLAIN, "size": 0}
    )
    assert (found.stimuli, found.pictures) == (None, (8, 8))
    assert any("resized to 8 x 8" in note for note in found.notes)


def test_mixed_sizes_are_brought_to_one_and_it_is_said() -> None:
    mixed = opened("ab", sizes=[(8, 8), (16, 16)])
    found = common_size(mixed, mixed, (0, 1), **{**PLAIN, "size": 40})
    assert (found.stimuli, found.pictures) == ((40, 40), (40, 40))
    assert any("2 sizes from 8 x 8 to 16 x 16" in note for note in found.notes)
    with pytest.raises(DataError, match="--size"):
        common_size(mixed, mixed, (0, 1), **{**PLAIN, "size": 0})


def test_as_published_brings_both_to_256_without_antialiasing() -> None:
    found = common_size(opened("ab"), opened("ab"), (0, 1), size=425, as_published=True)
    assert (found.stimuli, found.pictures) == ((256, 256), (256, 256))
    images = torch.rand(2, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    pictures = dataclasses.replace(opened("ab", sizes=[(300, 300)]), read=lambda row: images[row])
    found = pictures.images([1, 0], size=(256, 256), antialias=False)
    assert torch.equal(found, resize_images(images[[1, 0]], 256, antialias=False))


def test_other_proportions_are_refused_by_name_and_equal_ones_squeezed() -> None:
    wide = opened("ab", sizes=[(6, 8)])
    with pytest.raises(DataError, match=r"picture b of x is 8 x 8, stimulus b is 6 x 9"):
        common_size(opened("ab", sizes=[(8, 8), (6, 9)]), opened("ab"), (0, 1), **PLAIN)
    found = common_size(wide, opened("ab", sizes=[(60, 80)]), (0, 1), **PLAIN)
    assert any("squeezed to squares" in note for note in found.notes)


def test_more_pictures_than_memory_are_refused_before_they_are_read() -> None:
    with pytest.raises(DataError, match="GB"):
        check_memory(Path("x"), 10**7 * 3 * 425 * 425)
