"""Pictures of stimuli out of a folder, one at a time and in their own size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from mindeye.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def is_inside(name: str) -> bool:
    """Tell whether a relative name out of a file stays in the folder it is looked up in."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def find_pictures(
    folder: Path, ids: Sequence[str], *, named: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Find the file of every stimulus: named by its id, anywhere below a folder.

    Parameters
    ----------
    folder
        Folder of pictures, with or without subfolders.
    ids
        Stimulus ids: names of the files with or without their suffix, in any Unicode form.
    named
        File of some ids, relative to `folder`, taken if it is there.

    Raises
    ------
    DataError
        If the folder is missing, or a stimulus has no picture, several, or a link whose content
        was never fetched.
    """
    if not folder.is_dir():
        raise DataError(f"no folder of pictures at {folder}")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            for name in (path.stem, path.name):
                files.setdefault(normalize("NFC", name), []).append(path)
    named = named or {}
    paths = {
        s: _choose(s, folder, files.get(normalize("NFC", s), []), named.get(s, "")) for s in ids
    }
    missing = [s for s, path in paths.items() if path is None]
    if missing:
        raise DataError(
            f"no image for stimulus {missing[0]!r} in {folder} ({len(missing)} missing); files "
            f"are named by stimulus id, like {missing[0]}.png"
        )
    return {s: path for s, path in paths.items() if path is not None}


def _choose(stimulus_id: str, folder: Path, files: list[Path], named: str) -> Path | None:
    exact = folder / named if named and is_inside(named) else None
    if exact is not None and exact in files:
        files = [exact]
    if not files:
        return None
    if len(files) > 1:
        raise DataError(
            f"stimulus {stimulus_id!r} has several images in {folder}: {files[0].name} in "
            f"{files[0].parent} and {files[1].name} in {files[1].parent}; keep one"
        )
    if not files[0].exists():
        raise DataError(
            f"{files[0]} is a link to nothing; fetch its content first (datalad get, git annex get)"
        )
    return files[0]
