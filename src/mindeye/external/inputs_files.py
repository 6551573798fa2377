"""Array files of others, opened without executing anything in them, memory-mapped if they can be.

`.npy`, uncompressed `.pt` and `.safetensors` are read a picture at a time; `.npz` and `.pt` of
before torch 1.6 are read whole.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.external.inputs_pictures import check_memory
from mindeye.files import NPY_ERRORS, open_array

ADVICE = "save the pictures with numpy.save, or as a folder of .png"
_LISTED = 6


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Attributes
    ----------
    shape, dtype
        Of the array; bfloat16 counts as float32, which it is read as.
    row
        Gives its i-th entry along the first axis.
    said
        Which array of the file it is, where there was a choice.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    row: Callable[[int], NDArray[Any]]
    said: str = ""


def read_stored(path: Path) -> Stored:
    """Open the one array of pictures in a file.

    Raises
    ------
    DataError
        If the file is damaged, of an unknown kind, would have to be executed, or holds several
        arrays that could be pictures.
    """
    readers = {
        ".npy": _npy,
        ".npz": _npz,
        ".pt": _pt,
        ".pth": _pt,
        ".safetensors": _safetensors,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise DataError(
            f"{path} is of no kind that is read here; give a folder of pictures, or "
            f"{', '.join(readers)}"
        )
    return readers[suffix](path)


def _npy(path: Path) -> Stored:
    return _of_numpy(open_array(path, ADVICE))


def _of_numpy(array: NDArray[Any], said: str = "") -> Stored:
    return Stored(array.shape, array.dtype, lambda row: np.asarray(array[row]), said)


def _npz(path: Path) -> Stored:
    """Read the one array that could be pictures, after a look at the headers of all."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            shapes = {name.removesuffix(".npy"): _shape(archive, name) for name in members}
        name = _choose(path, shapes)
        check_memory(path, shapes[name])
        with np.load(path, allow_pickle=False) as arrays:
            found = arrays[name]
    except (*NPY_ERRORS, zipfile.BadZipFile, KeyError, NotImplementedError, zlib.error) as error:
        raise _damaged(path, error) from error
    return _of_numpy(found, f"array {name!r} of {len(shapes)}" if len(shapes) > 1 else "")


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        # Headers of version 3 differ from 2 in the names of fields alone.
        one = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = header(file)[0]
    return shape


def _safetensors(path: Path) -> Stored:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        name = _choose(path, shapes)
        tensor = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return _of_tensor(path, tensor, f"tensor {name!r} of {len(shapes)}" if len(shapes) > 1 else "")


def _pt(path: Path) -> Stored:
    import torch

    content = _load(path)
    if isinstance(content, torch.Tensor):
        return _of_tensor(path, content)
    if isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
        name = _choose(path, {k: tuple(v.shape) for k, v in tensors.items()})
        return _of_tensor(path, tensors[name], f"tensor {name!r} of {len(content)} entries")
    if isinstance(content, (list, tuple)):
        return _of_list(path, content)
    raise DataError(f"{path} holds a {type(content).__name__}, no tensor; {ADVICE}")


def _load(path: Path) -> Any:
    """Unpickle with the safe reader, which knows tensors and plain containers only."""
    import pickle

    import torch

    if not path.is_file() or path.stat().st_size == 0:
        raise DataError(f"{path} is missing or empty")
    error: Exception
    try:
        # A legacy file cannot be mapped and is read whole.
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            # Its remarks on protocols and sparse tensors help nobody who scores pictures.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as refused:
        error = refused
        if "weights_only" in str(refused).lower() or "unsupported" in str(refused).lower():
            raise DataError(
                f"{path} holds objects that would have to be executed to be read, which is never "
                "done; save the tensor alone, torch.save(images.cpu(), file)"
            ) from refused
    except Exception as other:
        # The reader of torn files raises whatever its parts do; all of it means the same here.
        error = other
    raise _damaged(path, error) from error


def _of_tensor(path: Path, tensor: Any, said: str = "") -> Stored:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise DataError(f"{path} holds a {tensor.dtype} tensor that is no plain one; {ADVICE}")
    if tensor.device.type == "meta":
        raise DataError(f"{path} holds a tensor without values; {ADVICE}")
    tensor = tensor.detach()
    wide = tensor.dtype if tensor.dtype in _known_types() else torch.float32
    kind = torch.empty((), dtype=wide).numpy().dtype
    return Stored(tuple(tensor.shape), kind, lambda row: tensor[row].to(wide).numpy(), said)


def _known_types() -> tuple[Any, ...]:
    import torch

    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
    return (*whole, torch.uint16, torch.float16, torch.float32, torch.float64)


def _of_list(path: Path, content: Sequence[Any]) -> Stored:
    import torch

    if not content or not all(isinstance(one, torch.Tensor) for one in content):
        raise DataError(f"{path} holds a list that is not one of tensors alone; {ADVICE}")
    shapes = {tuple(one.shape) for one in content}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len({one.dtype for one in content}) > 1:
        raise DataError(f"{path} holds {len(content)} tensors of several shapes or types; {ADVICE}")
    single = len(shape) == 4 and shape[0] == 1
    if len(shape) != 3 and not single:
        raise DataError(
            f"{path} holds a list of tensors {shape}; a list has one picture (3, H, W) an entry"
        )
    plain = [one[0] if single else one for one in content]
    stored = [_of_tensor(path, one[None]) for one in plain]
    said = f"a list of {len(content)} tensors, one picture each"
    return Stored(
        (len(plain), *plain[0].shape), stored[0].dtype, lambda row: stored[row].row(0), said
    )


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
    said = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{path} is damaged, or no file of plain arrays ({said}); {ADVICE}")
