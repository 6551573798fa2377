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
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.faiss_index import FaissSearch, read_index, set_search
from mindeye.gallery.tables import Tables, named_columns, open_table

INDEX_FILES = ("image.index", "knn.index", "image.index/populated.index")


def open_index_folder(folder: Path, config: IndexConfig) -> tuple[int, Tables, FaissSearch]:
    """Open an index folder.

    Parameters
    ----------
    folder
        Folder of the index and its metadata.
    config
        How far to look; what is left at its default stays as whoever made the index tuned it.

    Returns
    -------
    tuple
        Width of the vectors, what is known of every row, and what searches them.

    Raises
    ------
    DataError
        If there is no index, its metadata are missing, or do not describe its vectors.
    """
    file = next((folder / name for name in INDEX_FILES if (folder / name).is_file()), None)
    if file is None:
        raise DataError(
            f"{folder} is no gallery: neither gallery.json nor image.index or knn.index is in it; "
            "make one with `mindeye gallery build`"
        )
    index = read_index(file)
    if index.ntotal == 0:
        raise DataError(f"{file} is an empty index")
    if config.nprobe or config.ef != IndexConfig.ef:
        set_search(index, config)
    paths = sorted((folder / "metadata").glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    if not paths:
        raise DataError(
            f"{file} has no metadata: no {folder}/metadata/*.parquet; put the tables of its "
            "vectors there"
        )
    counts = [open_table(path).metadata.num_rows for path in paths]
    if sum(counts) != index.ntotal:
        raise DataError(
            f"{file} holds {index.ntotal} vectors, but {paths[0].parent} describes "
            f"{sum(counts)}; fetch the metadata that belong to it"
        )
    names = named_columns(open_table(paths[0]).schema_arrow.names)
    return int(index.d), Tables(paths, counts, named=names), FaissSearch(index, None, reach=0)
