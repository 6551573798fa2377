"""Pictures in one array: .npy, .npz, .safetensors, and the .pt tensors that are passed around.

The authors of MindEye publish their results as ``all_images.pt`` and ``*_recons*.pt``: one float
tensor (N, 3, H, W) in [0, 1] (Reconstruction_Metrics of their repository; the layout is taken from
that script, not checked against a published file). Nothing in a file is ever executed.

Axes: N pictures, k candidates, C channels, H height, W width.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.pictures import Pictures, Reading, check_memory, check_pixels
from mindeye.external.ranges import find_range, to_unit
from mindeye.files import NPY_ERRORS, open_array

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
    return pictures_in(array, path, reading, note)


def pictures_in(
    array: NDArray[Any] | Tensor, path: Path, reading: Reading, note: str = ""
) -> Pictures:
    """Describe an array of pictures.

    Parameters
    ----------
    array
        Pictures in one of the layouts of `channels_first`.
    path
        File of the array, or what to call it in messages.
    reading
        Range of the numbers, and what lies behind transparent pictures.
    note
        What was chosen on reading the array.

    Raises
    ------
    DataError
        If its shape or range could mean several things, or a value is not finite.
    """
    array = _numpy(path, array) if isinstance(array, Tensor) else array
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
    readers = {".npz": _npz, ".pt": _pt, ".pth": _pt, ".safetensors": _safetensors}
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return open_array(path, ADVICE), ""
    if suffix not in readers:
        raise DataError(
            f"{path} is of no kind that is read here; give a folder of pictures, or .npy, "
            f"{', '.join(readers)}"
        )
    return _one_array(path, readers[suffix](path))


def _npz(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            check_memory(path, sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (*NPY_ERRORS, zipfile.BadZipFile, KeyError, NotImplementedError, zlib.error) as error:
        raise _damaged(path, error) from error


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _pt(path: Path) -> Any:
    """Unpickle with the safe reader, which knows tensors and plain containers only."""
    if not path.is_file() or path.stat().st_size == 0:
        raise DataError(f"{path} is missing or empty")
    try:
        with warnings.catch_warnings():
            # Its remarks on protocols and sparse tensors help nobody who scores pictures.
            warnings.simplefilter("ignore")
            # Files of before torch 1.6 are no zip files; they cannot be mapped and are read whole.
            mapped = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # The reader of torn files raises whatever its parts do; all of it means the same here.
        if "weights_only" in str(error).lower():
            raise DataError(
                f"{path} holds objects that would have to be executed to be read, which is never "
                "done; save the tensor alone, torch.save(images.cpu(), file)"
            ) from error
        raise _damaged(path, error) from error


def _one_array(path: Path, content: Any) -> tuple[NDArray[Any], str]:
    if isinstance(content, Mapping):
        found = {str(k): v for k, v in content.items() if isinstance(v, Tensor | np.ndarray)}
        name = _choose(path, {k: tuple(v.shape) for k, v in found.items()})
        note = f"array {name!r} of {len(content)} entries" if len(content) > 1 else ""
        return _one_array(path, found[name])[0], note
    if isinstance(content, list | tuple):
        note = f"a list of {len(content)} tensors, one picture each"
        return _numpy(path, _stacked(path, content)), note
    if isinstance(content, Tensor):
        return _numpy(path, content), ""
    if isinstance(content, np.ndarray):
        return content, ""
    raise DataError(f"{path} holds a {type(content).__name__}, no tensor; {ADVICE}")


def _stacked(path: Path, content: Sequence[Any]) -> Tensor:
    if not content or not all(isinstance(one, Tensor) for one in content):
        raise DataError(f"{path} holds a list that is not one of tensors alone; {ADVICE}")
    if len({(one.shape, one.dtype) for one in content}) > 1:
        raise DataError(f"{path} holds {len(content)} tensors of several shapes or types; {ADVICE}")
    shape = tuple(content[0].shape)
    if len(shape) == 4 and shape[0] == 1:
        return torch.cat(list(content))
    if len(shape) != 3:
        raise DataError(
            f"{path} holds a list of tensors {shape}; a list has one picture (3, H, W) an entry"
        )
    return torch.stack(list(content))


def _numpy(path: Path, tensor: Tensor) -> NDArray[Any]:
    try:
        # NumPy has no bfloat16.
        plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        return np.asarray(plain.detach().cpu().numpy())
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"{path} holds a {tensor.dtype} tensor that is no plain one; {ADVICE}"
        ) from (error)


def _choose(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    fitting = [name for name, shape in shapes.items() if len(shape) in (4, 5)] or [
        name for name, shape in shapes.items() if len(shape) == 3
    ]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:_LISTED])
    what = f"{len(fitting)} arrays that could be the pictures" if fitting else "no pictures"
    raise DataError(f"{path} holds {what} ({listed or 'nothing'}); save them alone in a file")


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{path} is damaged, or no file of plain arrays ({reason}); {ADVICE}")
