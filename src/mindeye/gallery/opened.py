"""Index folders that clip-retrieval or autofaiss made, searched as they are.

::

    DIR/image.index or knn.index     of faiss; a folder with populated.index if it lies on disk
        metadata/*.parquet           one row a vector, tables in the order of their names

The layout and the order are those of clip-retrieval's service (``clip_back.py``: `load_index`,
`ParquetMetadataProvider`); not checked against real files here. The vectors themselves are not
there, so that scores are those of the index and cannot be made exact.
"""

from __future__ import annotations

from pathlib import Path

from mindeye.errors import DataError
from mindeye.gallery.faiss_index import FaissBackend, read_index, set_search
from mindeye.gallery.faiss_options import FaissOptions, faiss_options
from mindeye.gallery.rows import Rows, named_columns, open_table
from mindeye.gallery.store import DESCRIPTION, Gallery, Info, Space

INDEX_FILES = ("image.index", "knn.index", "image.index/populated.index")


def open_index_folder(folder: Path) -> Gallery:
    """Open an index folder.

    Raises
    ------
    DataError
        If there is no index, its metadata are missing, or do not describe its vectors.
    """
    file = index_file(folder)
    index = read_index(file)
    if index.ntotal == 0:
        raise DataError(f"{file} is an empty index")
    tables = _tables(folder)
    counts = [open_table(path).metadata.num_rows for path in tables]
    if sum(counts) != index.ntotal:
        raise DataError(
            f"{file} holds {index.ntotal} vectors, but {tables[0].parent} describes "
            f"{sum(counts)}; fetch the metadata that belong to it"
        )
    names = named_columns(open_table(tables[0]).schema_arrow.names)
    info = Info(Space(id="", width=int(index.d)), backend="faiss")
    return Gallery(folder, info, outside=Rows(tables, counts, named=names))


def open_outside(gallery: Gallery) -> FaissBackend:
    """Open the index of such a folder; options are those told at search time."""
    index = read_index(index_file(gallery.path))
    options = {"index": "as it is", **gallery.info.options}
    chosen: FaissOptions = faiss_options(options)
    if chosen.nprobe or "ef" in gallery.info.options:
        set_search(index, chosen)  # else as whoever made it tuned it
    return FaissBackend(index, None, reach=0)


def index_file(folder: Path) -> Path:
    """Return the index of a folder.

    Raises
    ------
    DataError
        If there is none.
    """
    for name in INDEX_FILES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{folder} is no gallery: neither {DESCRIPTION} nor image.index or knn.index is in it; "
        "make one with `mindeye gallery build`"
    )


def _tables(folder: Path) -> list[Path]:
    """Return the tables in the order that the rows of the index have."""
    inside = folder / "metadata"
    found = sorted(inside.glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    if not found:
        others = [p.name for p in folder.glob("metadata*") if p.suffix in (".hdf5", ".arrow")]
        hint = f"; {others[0]} cannot be read" if others else ""
        raise DataError(
            f"{index_file(folder)} has no metadata: no {inside}/*.parquet{hint}; put the tables "
            "of its vectors there"
        )
    return found
