"""Pictures of one's own that a simulated subject looks at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.data.images import resized
from mindeye.data.simulation import SimulateConfig
from mindeye.errors import DataError


@dataclass(frozen=True)
class GivenPictures:
    """What a simulated subject looks at, and what its high-level voxels know of it.

    Parameters
    ----------
    ids
        Distinct names of S stimuli; the first `SimulateConfig.train` are for training, the others
        for testing.
    pictures
        Pictures (S, H, W, 3) uint8, 0..255.
    attributes
        Numbers (S, A) for what the pictures are said to mean; best nothing that is read off the
        space that will be decoded into, or the test of the decoder is circular.
    captions
        Caption of every picture, S texts.
    source, licence
        Origin of the pictures and their terms of use, for `subject.json`.
    """

    ids: list[str]
    pictures: NDArray[np.uint8]
    attributes: NDArray[np.float32]
    captions: list[str]
    source: str
    licence: str


def check_given(config: SimulateConfig, given: GivenPictures) -> None:
    """Check that given pictures are sound and as many as the configuration says.

    Raises
    ------
    DataError
        If the pictures are not RGB of 0..255, an id is there twice, an attribute is not finite, or
        the numbers of ids, pictures, attributes and captions differ from the configured ones.
    """
    count = config.train + config.test
    lengths = {n: len(getattr(given, n)) for n in ("ids", "pictures", "attributes", "captions")}
    for name, length in lengths.items():
        if length != count:
            raise DataError(
                f"{length} {name} were given for train={config.train} and test={config.test} "
                f"stimuli; give {count}"
            )
    twice = [i for i, times in Counter(given.ids).items() if times > 1]
    if twice:
        raise DataError(f"the stimulus {twice[0]!r} was given twice; ids must be distinct")
    pictures = given.pictures
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DataError(
            f"pictures are {pictures.dtype} of shape {pictures.shape}; give uint8 (S, H, W, 3)"
        )
    if given.attributes.ndim != 2 or not np.isfinite(given.attributes).all():
        raise DataError("attributes must be finite numbers of shape (S, A)")


def as_seen(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return pictures (S, size, size, 3): the wavelengths of voxels are in pixels of these."""
    return np.stack([resized(picture, size) for picture in pictures])
