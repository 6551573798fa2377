"""Predictions looked up among the embeddings of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mindeye.errors import DataError
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.inputs import as_array


def retrieve(
    prediction: Any, gallery: Gallery | tuple[Any, Sequence[str]] | Any, k: int = 10
) -> pd.DataFrame:
    """Rank the entries of a gallery by their cosine similarity with predictions.

    Scores are cosines of flattened rows, as in the stage ``retrieve`` of a run: the same order,
    ties and digits for a gallery in memory, and the cosines with the stored float16 vectors for
    one on disk.

    Parameters
    ----------
    prediction
        Predicted embeddings (Q, K, D) or (Q, D), an array or tensor; or an object with them as
        `retrieval` and their names as `ids`, such as a decoder's prediction.
    gallery
        A `Gallery`, embeddings (G, K, D) or (G, D), or a tuple of embeddings and their ids.
    k
        Number of answers to every query; at most the size of the gallery.

    Returns
    -------
    DataFrame
        Columns query (the prediction's id, else its number), rank (from 0), id and score in
        [-1, 1].

    Raises
    ------
    DataError
        If predictions and gallery do not fit together, or one is malformed.
    UsageError
        If k is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> pictures = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> retrieve(np.array([[0.0, 2.0]]), (pictures, ["left", "up", "between"]), k=2)
       query  rank       id  score
    0      0     0       up    1.0
    1      0     1  between    0.8
    """
    names: Sequence[str] = ()
    if hasattr(prediction, "retrieval"):
        names = [str(i) for i in getattr(prediction, "ids", ())]
        prediction = prediction.retrieval
    if not isinstance(gallery, Gallery):
        embeddings, ids = gallery if isinstance(gallery, tuple) else (gallery, None)
        gallery = Gallery.from_embeddings(embeddings, ids)
    queries = as_array(prediction)
    if names and len(names) != len(queries):
        raise DataError(f"{len(names)} ids for {len(queries)} predictions; give one id each")
    return gallery.search(queries, k, names=names)
