"""What a folder or file holds: the kind of source is told from what lies there."""

from __future__ import annotations

from pathlib import Path

from mindeye.errors import DataError
from mindeye.gallery.sources import Source, SourceConfig


def open_source(path: Path, config: SourceConfig) -> Source:
    """Look at a source: embeddings, shards or pictures, whichever is there.

    Raises
    ------
    DataError
        If it holds none of these, or what is there is damaged.
    ConfigError
        If pictures come without an encoder.
    """
    from mindeye.gallery.source_embeddings import embeddings_in, open_embeddings
    from mindeye.gallery.source_pictures import open_pictures, open_shards, shards_in

    path = path.expanduser().resolve()
    if not path.exists():
        raise DataError(f"there is no source {path}")
    if embeddings_in(path):
        return open_embeddings(path, config)
    if shards_in(path):
        return open_shards(path, config)
    if path.is_dir():
        return open_pictures(path, config)
    raise DataError(
        f"{path} is no source: give a folder of pictures, of .tar shards or of img_emb and "
        "metadata, or one .tar or .npy file"
    )
