"""Synthetic embeddings, clustered like real ones, drawn block by block so that memory stays small.

A vector is the sum of four parts of fixed shares of its squared norm, brought to norm 1::

    mean        one direction shared by all
    centre      of its cluster: half topic, half its own; clusters have power-law sizes
    spread      within the cluster: `rank` of `directions` shared directions, another choice and
                other scales for every cluster
    rest        isotropic noise

What is known of CLIP embeddings and built in here: they lie in a narrow cone, so that any two of
them have a clearly positive cosine (Liang et al. 2022, "Mind the Gap", arXiv 2203.02053, section
2), because their mean is far from the origin (Levi and Gilboa 2025, "The Double-Ellipsoid Geometry
of CLIP", arXiv 2411.14517); how often a concept is pictured in web data falls off with a long tail
(Udandarao et al. 2024, arXiv 2404.04125); representations in the last layers of image networks have
far fewer dimensions than units (Ansuini et al. 2019, arXiv 1905.12784). All numbers of `Mixture`
are our own choice; not checked against real files here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import UsageError
from mindeye.files import open_array, write_array, write_text
from mindeye.progress import track

BLOCK = 4096
"""Vectors drawn at once from a generator of their own: parts of any size hold the same vectors."""

FRESH = 1 << 40
"""Number of the first block that is in no gallery; fresh queries come from there on."""

MEMBER_BLOCKS = 16
"""Blocks that perturbed members are taken from, so that making queries stays cheap."""


@dataclass(frozen=True)
class Mixture:
    """What is drawn.

    Parameters
    ----------
    width
        D, at least 8.
    clusters
        Of them all; a small gallery holds few members of most.
    topics
        Coarser groups of clusters.
    exponent
        The share of the i-th cluster falls as i to the minus this.
    directions, rank
        Directions of spread there are, and how many a cluster uses.
    mean, centre, spread, rest
        Shares of the squared norm; their sum is 1.
    seed
        Of everything drawn.
    """

    width: int = 768
    clusters: int = 4096
    topics: int = 256
    exponent: float = 0.8
    directions: int = 32
    rank: int = 12
    mean: float = 0.45
    centre: float = 0.30
    spread: float = 0.22
    rest: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < 8 or self.seed < 0:
            raise UsageError(
                f"synthetic vectors need a width of 8 and a seed of 0 or more; got {self.width}, "
                f"{self.seed}"
            )


class Queries(NamedTuple):
    """Unit queries (Q, D) float32, and the row (Q,) each was made of, -1 for a fresh draw."""

    vectors: NDArray[np.float32]
    members: NDArray[np.int64]


class Synthetic:
    """Draws vectors by number; the same numbers always give the same vectors on one machine.

    On another processor the last bit of a float16 may differ: products of matrices add up in
    another order.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = m = mixture
        rng = np.random.default_rng([m.seed, 1])
        turn = np.linalg.qr(rng.standard_normal((m.width, m.width)))[0].astype(np.float32)
        fall = (1.0 + np.arange(m.width, dtype=np.float32)) ** -0.5
        topics = _unit(rng.standard_normal((m.topics, m.width), dtype=np.float32) * fall)
        own = _unit(rng.standard_normal((m.clusters, m.width), dtype=np.float32) * fall)
        centres = _unit(topics[rng.integers(m.topics, size=m.clusters)] + own) @ turn
        mean = _unit(rng.standard_normal((1, m.width), dtype=np.float32))
        self.centres = torch.from_numpy(centres * m.centre**0.5 + mean * m.mean**0.5)
        self.directions = torch.from_numpy(
            _unit(rng.standard_normal((m.directions, m.width), dtype=np.float32))
        )
        self.scales = torch.from_numpy(_scales(m, rng))
        shares = (1.0 + np.arange(m.clusters)) ** -m.exponent
        self.edges = np.cumsum(shares / shares.sum())

    def block(self, number: int) -> NDArray[np.float16]:
        """Return block `number` (BLOCK, D), unit vectors."""
        m = self.mixture
        rng = np.random.Generator(np.random.SFC64([m.seed, 2, number]))
        places = np.searchsorted(self.edges, rng.random(BLOCK)).clip(max=m.clusters - 1)
        cluster = torch.from_numpy(places)
        draws = torch.from_numpy(rng.standard_normal((BLOCK, m.directions), dtype=np.float32))
        # One random byte a number: uniform, of which any direction sees nearly a Gaussian; ten
        # times cheaper than Gaussians.
        noise = np.frombuffer(rng.bytes(BLOCK * m.width), dtype=np.int8).reshape(BLOCK, m.width)
        rest = torch.from_numpy(noise.copy()).float().add_(0.5)
        found = self.centres[cluster]
        found.addmm_(draws * self.scales[cluster], self.directions)
        found.add_(rest, alpha=(m.rest / m.width) ** 0.5 / _BYTE_DEVIATION)
        unit = found / found.norm(dim=1, keepdim=True)
        halves: NDArray[np.float16] = unit.half().numpy()
        return halves

    def rows(self, first: int, last: int) -> Iterator[NDArray[np.float16]]:
        """Yield vectors `first` to `last` - 1, a block or a piece of one at a time."""
        for number in range(first // BLOCK, -(-last // BLOCK)):
            start = number * BLOCK
            yield self.block(number)[max(first - start, 0) : last - start]

    def queries(self, gallery: int, count: int, *, stream: int, cosine: float = 0.9) -> Queries:
        """Return queries: three of four near a member of the gallery, the others fresh draws.

        Parameters
        ----------
        gallery
            Vectors of the gallery, G.
        count
            Q.
        stream
            0 takes members of even rows, 1 of odd ones, so that queries to tune on and queries to
            measure by never come from the same member.
        cosine
            Of a perturbed member to that member, in (0, 1).
        """
        rng = np.random.default_rng([self.mixture.seed, 3, stream])
        fresh = count // 4
        rows = self._members(rng, gallery, count - fresh, stream)
        members = np.concatenate([self.block(n)[np.sort(r)] for n, r in rows.items()])
        numbers = np.concatenate([n * BLOCK + np.sort(r) for n, r in rows.items()])
        noise = _unit(rng.standard_normal(members.shape, dtype=np.float32))
        near = cosine * members.astype(np.float32) + (1 - cosine**2) ** 0.5 * noise
        blocks = [self.block(FRESH + stream * 1000 + i) for i in range(-(-fresh // BLOCK))]
        new = np.concatenate(blocks)[:fresh] if blocks else members[:0]
        order = rng.permutation(count)
        vectors = np.concatenate([_unit(near), _unit(new.astype(np.float32))])[order]
        made_of = np.concatenate([numbers, np.full(fresh, -1)])[order]
        return Queries(np.ascontiguousarray(vectors), made_of.astype(np.int64))

    def _members(
        self, rng: np.random.Generator, gallery: int, count: int, stream: int
    ) -> dict[int, NDArray[np.int64]]:
        """Return block -> rows in it, `count` in all, each at most once."""
        blocks = -(-gallery // BLOCK)
        chosen = np.sort(rng.choice(blocks, min(blocks, MEMBER_BLOCKS), replace=False))
        there = np.concatenate(
            [n * BLOCK + np.arange(min(BLOCK, gallery - n * BLOCK)) for n in chosen]
        )
        there = there[there % 2 == stream % 2]
        if count > len(there):
            raise UsageError(f"{count} queries of a gallery of {gallery}; ask for fewer")
        taken = rng.choice(there, count, replace=False)
        found = {int(n): taken[taken // BLOCK == n] % BLOCK for n in chosen}
        return {n: rows for n, rows in found.items() if len(rows)}


_BYTE_DEVIATION = ((256**2 - 1) / 12) ** 0.5
"""Standard deviation of a byte drawn uniformly."""


def _scales(m: Mixture, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (clusters, directions): how far a cluster spreads along each direction."""
    rank = min(m.rank, m.directions)
    order = np.argsort(rng.random((m.clusters, m.directions), dtype=np.float32), axis=1)
    fall = np.zeros(m.directions, dtype=np.float32)
    fall[:rank] = (1.0 + np.arange(rank)) ** -0.5
    fall *= (m.spread / np.square(fall).sum()) ** 0.5
    return np.ascontiguousarray(fall[order])


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit.astype(np.float32, copy=False)


def write_vectors(folder: Path, mixture: Mixture, count: int, *, part: int) -> list[Path]:
    """Write `count` vectors as .npy files of at most `part` vectors, float16.

    A call that was cut off goes on; files of another mixture are written anew.

    Returns
    -------
    list
        The files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note, key = folder / "made_of.txt", config_hash(mixture, part)
    if not note.is_file() or note.read_text(encoding="utf-8") != key:
        for old in folder.glob("*.npy"):
            old.unlink()
        write_text(note, key)
    paths = [folder / f"part_{n}.npy" for n in range(-(-count // part))]
    for old in set(folder.glob("*.npy")) - set(paths):
        old.unlink()
    synthetic: Synthetic | None = None
    for number, path in enumerate(track(paths, "vectors")):
        first, last = number * part, min((number + 1) * part, count)
        if path.is_file() and len(open_array(path, "delete it")) == last - first:
            continue
        synthetic = synthetic or Synthetic(mixture)
        rows = np.empty((last - first, mixture.width), dtype=np.float16)
        place = 0
        for piece in synthetic.rows(first, last):
            rows[place : place + len(piece)] = piece
            place += len(piece)
        write_array(path, rows)
    return paths


def geometry(vectors: NDArray[np.float32]) -> dict[str, float]:
    """Return how a sample (N, D) of unit vectors lies: cosines of two of them, of the next one."""
    table = vectors @ vectors.T
    np.fill_diagonal(table, np.nan)
    return {
        "sample": len(vectors),
        "cosine_of_two": float(np.nanmean(table)),
        "cosine_of_two_sd": float(np.nanstd(table)),
        "cosine_of_the_nearest": float(np.nanmax(table, axis=1).mean()),
    }
