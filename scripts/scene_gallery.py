"""Look for what a demo's subject saw among 100,000 scenes, before and after second order.

    mindeye demo --out runs/demo
    python scripts/scene_gallery.py --demo runs/demo --out runs/scenes

The gallery holds the demo's test pictures and scenes that neither the subject nor the zoo has
seen. It is asked

- by one vector a picture, as the paper asks LAION-5B: token 0 of the tokens that the demo
  predicts; ridge regression's; and the prediction of a pooled run (`--pooled RUN`, trained with
  `mindeye run demo --subject-dir DEMO/subject targets.tokens=pooled targets.generator=none
  low_enabled=false`). Then the second order: the demo's tokens select among the 16 nearest;
- by all tokens at once (exact), which is what the second order would give of k = all;
- by the true pooled embeddings, the upper end of what one vector a picture can find;

through the exact search and through faiss's flat and IVF-PQ indices. Prints one table as Markdown
and writes OUT/scene_gallery.json. About a quarter of an hour on two cores; a call that was cut off
goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.commands.gallery_of_run import lines_of_pictures
from mindeye.config.settings import run_config
from mindeye.files import provenance, write_json
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.exact import ExactSearch, Matches, rescored, unit_rows
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.pictures import write_sheet
from mindeye.gallery.second_order import NEIGHBOURS, select
from mindeye.metrics.uncertainty import bootstrap_interval
from mindeye.runs import Workspace, open_run
from mindeye.runs.scoring.predictions import decoded, prediction
from scene_gallery_data import pooled_gallery, token_gallery, write_shards

INDICES = ("flat", "ivfpq")
MORE = (64, 256, 1024)
"""Neighbours beside the paper's 16, asked of the exact search: how far the first order holds back
the second."""

EMBEDDED = ("token 0 of the run", "pooled run")
"""Whose neighbours are embedded again out of their pictures, as a user's are. The tokens of others
are read from the gallery of all tokens: the same but for float16, in a tenth of the time."""

SEED = 0
Floats = NDArray[np.float32]


class Asked(NamedTuple):
    """One line of the table: what looks up, by which back-end, and where the truth was."""

    by: str
    backend: str
    gallery: int
    first: NDArray[np.bool_]
    """(S, k) whether an answer is the picture seen, best first."""
    pick: NDArray[np.bool_] | None
    """(S,) whether the second order's pick is."""


def main() -> None:
    """Draw, embed, ask, print."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    work = open_run(given.demo, run_config)
    told = write_shards(given.out / "shards", work.subject, given.scenes, given.seed)
    name = work.config.targets.encoder
    tokens = token_gallery(given.out / "tokens", given.out / "shards", name)
    gallery = pooled_gallery(given.out / "pooled", tokens, name, work.encoder.width)
    queries = _queries(work, given.pooled)
    lines = [*_small(work, queries), *_large(work, gallery, tokens, queries, given)]
    content = {
        "run": str(given.demo),
        "pooled_run": str(given.pooled or ""),
        "seed": given.seed,
        **told,
        "rows": [_row(line) for line in lines],
        **provenance(),
    }
    write_json(given.out / "scene_gallery.json", content)
    print(_markdown(content))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--pooled", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _queries(work: Workspace, pooled: Path | None) -> dict[str, Floats]:
    """Return what looks up by one vector, (S, D) of norm 1, by name."""
    raw = {"token 0 of the run": decoded(work)[:, 0]}
    raw["ridge, token 0"] = prediction(work, "ridge/tokens")[:, 0]
    if pooled is not None:
        other = open_run(pooled, run_config)
        if other.test_ids != work.test_ids:
            raise SystemExit(f"{pooled} decodes other test stimuli")
        raw["pooled run"] = decoded(other).reshape(len(work.test_ids), -1)
    raw["true pooled embedding"] = work.embeddings("tokens")[work.rows(work.test_ids)][:, 0]
    return {name: unit_rows(np.asarray(q), name)[0] for name, q in raw.items()}


def _all_tokens(work: Workspace) -> dict[str, Floats]:
    """Return what looks up by all tokens, (S, K * D) of norm 1."""
    count = len(work.test_ids)
    raw = {
        "all tokens of the run": decoded(work),
        "true tokens": work.embeddings("tokens")[work.rows(work.test_ids)],
    }
    return {name: unit_rows(np.asarray(q).reshape(count, -1), name)[0] for name, q in raw.items()}


def _small(work: Workspace, queries: dict[str, Floats]) -> list[Asked]:
    """Ask the test pictures alone: what one vector loses before there is anything to confuse."""
    count = len(work.test_ids)
    truth = work.embeddings("tokens")[work.rows(work.test_ids)]
    pooled = unit_rows(truth[:, 0], "test pictures")[0]
    whole = unit_rows(truth.reshape(count, -1), "test pictures")[0]
    lines = []
    for name, vectors in [*queries.items(), *_all_tokens(work).items()]:
        scores = vectors @ (pooled if vectors.shape[1] == pooled.shape[1] else whole).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
        lines.append(Asked(name, "exact", count, order == np.arange(count)[:, None], None))
    return lines


def _large(
    work: Workspace,
    gallery: Gallery,
    tokens: Gallery,
    queries: dict[str, Floats],
    given: argparse.Namespace,
) -> list[Asked]:
    reading = SourceConfig(encoder=work.config.targets.encoder, encoder_tokens="pooled")
    whole = _all_tokens(work)
    lines = []
    for backend in ("exact", *INDICES):
        asked = Gallery.build(
            given.out / "class_tokens", gallery.path, index=backend, reading=reading
        )
        for name, vectors in queries.items():
            found = asked.searcher.search(vectors, NEIGHBOURS)
            # rows of the two galleries are the same pictures
            picked = rescored(tokens.vectors, whole["all tokens of the run"], found.rows, 1).rows
            if backend == "exact" and name in EMBEDDED:
                picked = _selected(work, asked, found, given.out, name)
            first = _hits(work, asked, found.rows)
            pick = (first & (found.rows == picked)).any(axis=1)
            lines.append(Asked(name, backend, len(asked), first, pick))
    for name, vectors in queries.items():
        found = ExactSearch(gallery.vectors).search(vectors, min(max(MORE), len(gallery)))
        first = _hits(work, gallery, found.rows)
        for k in MORE:
            near = found.rows[:, :k]
            picked = rescored(tokens.vectors, whole["all tokens of the run"], near, 1).rows
            pick = (first[:, :k] & (near == picked)).any(axis=1)
            lines.append(Asked(name, "exact", len(gallery), first[:, :k], pick))
    for name, vectors in whole.items():
        found = ExactSearch(tokens.vectors, chunk=4096).search(vectors, NEIGHBOURS)
        lines.append(Asked(name, "exact", len(tokens), _hits(work, tokens, found.rows), None))
    return lines


def _selected(
    work: Workspace, gallery: Gallery, found: Matches, out: Path, name: str
) -> NDArray[np.int64]:
    """Return the rows (S, 1) that the second order picks out of the pictures; draw them."""
    root = out / "shards"
    second = select(gallery, found.rows, decoded(work), work.encoder, root=root)
    seen = work.subject.pictures_of(work.test_ids)
    path = out / f"{name.replace(' ', '_')}.png"
    picked = np.take_along_axis(found.rows, second.picks[:, None], axis=1)
    near = lines_of_pictures(
        gallery, np.concatenate([found.rows[:50, :8], picked[:50]], axis=1), root=root
    )
    write_sheet(path, [[s, *line] for s, line in zip(seen, near, strict=False)], [9] * len(near))
    return picked


def _hits(work: Workspace, gallery: Gallery, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    ids = gallery.table(rows.reshape(-1))["id"].to_numpy().reshape(rows.shape)
    return np.asarray(ids == np.array(work.test_ids, dtype=object)[:, None])


def _row(line: Asked) -> dict[str, Any]:
    measures = {
        "top1": line.first[:, 0],
        "among_k": line.first.any(axis=1),
        "top1_second_order": line.pick,
    }
    row: dict[str, Any] = {"by": line.by, "backend": line.backend, "gallery": line.gallery}
    k = line.first.shape[1]
    row |= {"k": k, "chance_top1": 1 / line.gallery, "chance_among_k": k / line.gallery}
    for name, hits in measures.items():
        if hits is None:
            row[name] = None
            continue
        interval = bootstrap_interval(hits, np.random.default_rng(SEED))
        row[name] = {"value": interval.value, "low": interval.low, "high": interval.high}
    return row


def _markdown(content: dict[str, Any]) -> str:
    head = ["looked up by", "gallery", "search", "brain_to_image_top1", "k", "among the k nearest"]
    head.append("top1 after second order")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in content["rows"]:
        cells = [row["by"], f"{row['gallery']:,}", row["backend"]]
        for name in ("top1", "k", "among_k", "top1_second_order"):
            cell = row[name]
            if name == "k":
                cells.append(str(cell))
                continue
            cells.append(
                ""
                if cell is None
                else f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
            )
        lines.append(f"| {' | '.join(cells)} |")
    count, lost = content["pictures"], content["duplicates_of_test_pictures"]
    lines += [
        "",
        f"Chance among {count:,}: top1 {1 / count:.1e}, top{NEIGHBOURS} {NEIGHBOURS / count:.1e}. "
        "95 % bootstrap intervals over test pictures.",
        f"{lost} new scenes were pixel for pixel a test picture and left out.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
