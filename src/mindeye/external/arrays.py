"""Pictures in one array: .npy, .npz, .safetensors, and the .pt tensors that are passed around.

The authors of MindEye publish their results as ``all_images.pt`` and ``*_recons*.pt``: one float
tensor (N, 3, H, W) in [0, 1] (Reconstruction_Metrics of their repository; the layout is taken from
that script, not checked against a published file). Nothing in a file is ever executed.

Axes: N pictures, k candidates, C channels, H height, W width.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.pictures import Pictures, Reading, check_memory, check_pixels
from mindeye.external.ranges import find_range, to_unit

ADVICE = "save the pictures with numpy.save, or as a folder of .png"
_CHANNELS = (1, 3, 4)
_LISTED = 6


def open_array_file(path: Path, reading: Reading) -> Pictures:
    """Open a file that holds all pictures as one array, memory-mapped where the format allows it.

    Parameters
    ----------
    path
        File that ends in ``.npy``, ``.npz``, ``.pt``, ``.pth`` or ``.safetensors``.
    reading
        Range of the numbers, and what lies behind transparent pictures.

    Raises
    ------
    DataError
        If it is damaged, holds objects or no single array of pictures, has a shape or range that
        could mean several things, or values that are not finite.
    """
    array, note = read_array(path)
    if array.dtype.kind not in "buif":
        raise DataError(f"{path} holds {array.dtype}, no numbers of pictures")
    images, layout = channels_first(path, array)
    n, channels, height, width = images.shape
    check_pixels(path, "0", (height, width))
    if channels == 4 and reading.alpha == "refuse":
        raise DataError(f"{path} has an alpha channel, and --alpha refuse takes no such pictures")
    name, span = find_range(path, images, reading)
    notes = [note, layout]
    if channels == 1:
        notes.append("grey pictures, copied into three channels")
    if channels == 4:
        notes.append(f"the fourth channel is taken as alpha and laid over {reading.alpha}")

    def read(row: int) -> Tensor:
        return _colours(to_unit(images[row], name), reading.alpha)

    notes = [f"{path}: {one}" for one in notes if one] + ([span] if span else [])
    names = tuple(map(str, range(n)))
    return Pictures(path, names, ((height, width),) * n, False, tuple(notes), read)


def _colours(image: NDArray[np.float32], behind: str) -> Tensor:
    if len(image) == 1:
        image = np.repeat(image, 3, axis=0)
    if len(image) == 4:
        image = image[3:] * image[:3] + (1 - image[3:]) * np.float32(behind == "white")
    return torch.from_numpy(np.ascontiguousarray(image))


def channels_first(path: Path, array: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """View an array as (N, C, H, W), by the lengths of its axes.

    Parameters
    ----------
    path
        File of the array, for messages.
    array
        Pictures as (N, C, H, W), (N, H, W, C), (N, H, W), (H, W, C) or (N, k, C, H, W).

    Returns
    -------
    array, str
        The view, and what was chosen; empty where there was no choice.

    Raises
    ------
    DataError
        If the lengths fit no layout, or two.
    """
    shape = array.shape
    if 0 in shape:
        raise DataError(f"{path} is empty: shape {shape}")
    if array.ndim == 5:
        view, note = channels_first(path, array[:, 0])
        text = f"the first of {shape[1]} candidates a stimulus is scored, the others are not read"
        return view, text if shape[1] > 1 else note
    if array.ndim == 4:
        first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
        if first == last:
            which = "both its second and its last" if first else "neither its second nor its last"
            raise DataError(
                f"{path} has shape {shape}: {which} axis could be colour; save it as "
                "(N, H, W, 3) or (N, 3, H, W)"
            )
        return (array, "") if first else (np.moveaxis(array, -1, 1), "")
    if array.ndim == 3 and shape[0] in (3, 4):
        n, a, b = shape
        raise DataError(
            f"{path} has shape {shape}: one colour picture or {n} grey ones; add an axis, "
            f"(1, {n}, {a}, {b}) or ({n}, 1, {a}, {b})"
        )
    if array.ndim == 3 and shape[2] in (3, 4):
        return np.moveaxis(array, -1, 0)[None], "one colour picture (H, W, C)"
    if array.ndim == 3:
        return array[:, None], ""
    raise DataError(
        f"{path} has shape {shape}; pictures are (N, H, W, 3), (N, 3, H, W), or grey (N, H, W)"
    )


def read_array(path: Path) -> tuple[NDArray[Any], str]:
    """Read the one array of pictures in a file.

    Returns
    -------
    array, str
        The array, and which of the file's arrays it is; empty where there was no choice.

    Raises
    ------
    DataError
        If the file is damaged, of an unknown kind, would have to be executed, or holds several
        arrays that could be pictures.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is of no kind that is read here; give a folder of pictures, or "
            f"{', '.join(_READERS)}"
        )
    try:
        with warnings.catch_warnings():
            # What torch remarks about protocols and sparse tensors helps nobody who scores.
            warnings.simplefilter("ignore")
            return _one_array(path, reader(path))
    except DataError:
        raise
    except Exception as error:
        # Readers of torn files raise whatever their parts do; all of it means the same here.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{path} is damaged, no plain array, or would have to be executed to be read, which is "
            f"never done ({reason}); {ADVICE}"
        ) from error


def _npy(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        check_memory(path, sum(member.file_size for member in archive.infolist()))
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _pt(path: Path) -> Any:
    # Files of before torch 1.6 are no zip files; they cannot be mapped and are read whole.
    mapped = zipfile.is_zipfile(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".pth": _pt,
    ".safetensors": load_file,
}


def _one_array(path: Path, content: Any) -> tuple[NDArray[Any], str]:
    if isinstance(content, Mapping):
        arrays = {str(k): v for k, v in content.items() if isinstance(v, Tensor | np.ndarray)}
        name = _choose(path, {k: tuple(v.shape) for k, v in arrays.items()})
        note = f"array {name!r} of {len(content)} entries" if len(content) > 1 else ""
        return _numpy(arrays[name]), note
    if isinstance(content, list | tuple):
        tensors = [one for one in content if isinstance(one, Tensor)]
        # One picture an entry, some with an axis for the batch.
        single = [one[0] if one.ndim == 4 and len(one) == 1 else one for one in tensors]
        alike = len({(one.shape, one.dtype) for one in single}) == 1
        if len(single) < len(content) or not alike or single[0].ndim != 3:
            raise DataError(
                f"{path} holds a list that is not one of tensors (3, H, W) of one shape and type; "
                f"{ADVICE}"
            )
        return _numpy(torch.stack(single)), f"a list of {len(content)} tensors, one picture each"
    if isinstance(content, Tensor | np.ndarray):
        return _numpy(content), ""
    raise DataError(f"{path} holds a {type(content).__name__}, no tensor; {ADVICE}")


def _numpy(array: NDArray[Any] | Tensor) -> NDArray[Any]:
    """View a tensor as an array; bfloat16, which NumPy lacks, becomes float32."""
    if isinstance(array, Tensor):
        plain = array.float() if array.dtype == torch.bfloat16 else array
        return np.asarray(plain.detach().cpu().numpy())
    return array


def _choose(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the name of the one array that could be pictures, colour before grey."""
    fitting = [name for name, shape in shapes.items() if len(shape) in (4, 5)] or [
        name for name, shape in shapes.items() if len(shape) == 3
    ]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:_LISTED])
    what = f"{len(fitting)} arrays that could be the pictures" if fitting else "no pictures"
    raise DataError(f"{path} holds {what} ({listed or 'nothing'}); save them alone in a file")
