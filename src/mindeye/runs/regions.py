"""Regions of a subject's voxels: which there are, and random sets to hold them against.

A region's label comes out of somebody's file. It is shown, and never a path.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_REGIONS = 8
"""Regions that are looked at, the largest ones: each costs four predictions of the test set."""

JOINED = r"[;+]"
"""Between the labels of a voxel that lies in several regions: `;` of NSD's, `+` of bdata's."""

LONGEST_LABEL = 60

MEMBERSHIP = "roi_"
"""How columns begin that tell of one region whether a voxel lies in it."""


class Region(NamedTuple):
    """A named set of voxels.

    Attributes
    ----------
    label
        Label as the file has it, on one line, cut to 60 characters.
    inside
        (V,) whether a voxel belongs to it.
    """

    label: str
    inside: NDArray[np.bool_]


def regions_of(voxels: pd.DataFrame) -> list[Region]:
    """Return the regions that a voxel table tells of, the largest first.

    They are read from the column `roi`, whose entries may join several labels by ``;`` or ``+``,
    and from columns `roi_NAME` that hold true and false, or 1 and 0. Regions of one label are
    one region. None or all of the voxels are no region.

    Parameters
    ----------
    voxels
        One row a voxel.
    """
    members: dict[str, NDArray[np.bool_]] = {}
    for label, inside in _labelled(voxels) + _member_columns(voxels):
        if label:
            members[label] = members.get(label, np.zeros(len(voxels), dtype=bool)) | inside
    proper = [
        Region(n, inside) for n, inside in members.items() if inside.any() and not inside.all()
    ]
    return sorted(proper, key=lambda region: (-int(region.inside.sum()), region.label))


def _labelled(voxels: pd.DataFrame) -> list[tuple[str, NDArray[np.bool_]]]:
    if "roi" not in voxels.columns:
        return []
    column = voxels["roi"]
    texts = [_text(value) for value in column]
    parts = [{_clean(p) for p in text} for text in pd.Series(texts, dtype=str).str.split(JOINED)]
    labels = sorted(set().union(*parts)) if parts else []
    return [(label, np.array([label in own for own in parts])) for label in labels]


def _text(value: object) -> str:
    """Return a label as text; numbers that pandas made floats, for want of others, as 1 and 2."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _clean(label: object) -> str:
    return " ".join(str(label).split())[:LONGEST_LABEL]


def _member_columns(voxels: pd.DataFrame) -> list[tuple[str, NDArray[np.bool_]]]:
    columns = []
    for name in voxels.columns:
        values = voxels[name]
        if not str(name).startswith(MEMBERSHIP) or not pd.api.types.is_numeric_dtype(values):
            continue
        if values.isin([0, 1]).all():
            columns.append((_clean(str(name).removeprefix(MEMBERSHIP)), values.to_numpy() == 1))
    return columns


def random_set(size: int, voxels: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random set (V,) of as many voxels as a region has, out of all voxels."""
    inside = np.zeros(voxels, dtype=bool)
    inside[rng.choice(voxels, size=size, replace=False)] = True
    return inside
