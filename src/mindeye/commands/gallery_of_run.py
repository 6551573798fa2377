"""A gallery asked with a run: first order by one vector a picture, second order by all tokens.

::

    OUT/retrieved.npy        (S, H, W, 3) the picks, at the size of the stimuli
        stimuli.npy          (S, H, W, 3) what was seen
        stimulus_ids.json    in the order of both
        answers.json         every answer with both scores, and the picks
        strip.png            seen, the best 8 of the first order, the pick
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.config.settings import run_config
from mindeye.errors import DataError, UsageError
from mindeye.files import write_array, write_json
from mindeye.gallery.exact import Matches
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.pictures import Picture, fitted, write_sheet
from mindeye.gallery.second_order import (
    NEIGHBOURS,
    Selection,
    answer_pictures,
    is_without_pictures,
    select,
)
from mindeye.gallery.sources import Queries, queries_from
from mindeye.gallery.store import VectorSpace
from mindeye.runs import open_run
from mindeye.runs.scoring.predictions import decoded, pooled, prediction
from mindeye.runs.workspace import Workspace

ANSWERS = "answers.json"

SHOWN = 20
"""Queries whose answers are printed; --json has all."""

DRAWN = 50
"""Queries whose answers are drawn."""

BEST = 8
"""Answers of the first order that are drawn."""

PROBED = 64
"""Answers by which it is decided whether a gallery of embeddings has pictures at hand."""

CLASS_TOKEN_NOTE = (
    "first order by token 0 of the predicted tokens, which were trained all together and not to "
    "look up by one of them; a pooled run of the same subject (targets.tokens=pooled) finds more "
    "(--pooled-run), and so does ridge regression's token 0 (--first-order ridge)"
)
MEAN_NOTE = (
    "first order by the mean of the predicted tokens, since the encoder has no class token; its "
    "own pooled embedding is something else, and a pooled run (--pooled-run) predicts that"
)


@dataclass(frozen=True)
class RunSearch:
    """How a gallery is asked with a run.

    Parameters
    ----------
    k
        Number of neighbours of the first order; the paper takes 16.
    second_order
        ``tokens`` selects among them by all tokens; ``none`` takes the nearest.
    first_order
        ``decoder`` looks up by what the run's decoder predicts, ``ridge`` by what its ridge
        regression does, which fits every token for itself.
    pooled_run
        Folder of another run of the same subject whose predictions look up the neighbours.
    root
        Folder below which the gallery's pictures lie, where that is not its source.
    """

    k: int = NEIGHBOURS
    second_order: Literal["tokens", "none"] = "tokens"
    first_order: Literal["decoder", "ridge"] = "decoder"
    pooled_run: Path | None = None
    root: Path | None = None


@dataclass(frozen=True)
class Answers:
    """Answers of a gallery to queries, and what the second order picks among them.

    Parameters
    ----------
    gallery
        Gallery that was asked.
    queries
        Queries, such as one a test stimulus, named by its id.
    matches
        Answers of the first order, (Q, k).
    notes
        Notes for the user.
    second
        Scores and ranks of the second order; None without one.
    by
        Name of the prediction that the first order looked up by.
    root
        Folder below which the pictures lie; None for the gallery's own sources.
    """

    gallery: Gallery
    queries: Queries
    matches: Matches
    notes: list[str] = field(default_factory=list)
    second: Selection | None = None
    by: str = ""
    root: Path | None = None

    @property
    def picks(self) -> NDArray[np.int64]:
        """First-order rank (Q,) of the pick of every query."""
        if self.second is None:
            return np.zeros(len(self.queries.names), dtype=np.int64)
        return self.second.picks

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row (Q,) of the pick of every query."""
        return np.take_along_axis(self.matches.rows, self.picks[:, None], axis=1)[:, 0]

    def content(self) -> dict[str, Any]:
        """Return the answers as JSON: an entry a query with its rows, scores and texts."""
        answers = []
        for name, rows, scores in zip(self.queries.names, *self.matches, strict=True):
            there = rows >= 0
            table = self.gallery.table(rows[there])
            columns = {c: table[c].tolist() for c in ("id", "caption", "url", "where")}
            found = {"rows": rows[there].tolist(), "scores": scores[there].astype(float).tolist()}
            answers.append({"query": name, **found, **columns})
        info = self.gallery.info
        return {
            "gallery": str(self.gallery.path),
            "encoder": info.space.id,
            "width": info.space.width,
            "backend": info.backend,
            "options": info.options,
            "count": len(self.gallery),
            "k": self.matches.rows.shape[1],
            "notes": self.notes,
            "queries": answers,
        }


def lines_of_pictures(
    gallery: Gallery, rows: NDArray[np.int64], *, root: Path | None = None
) -> list[list[Picture | None]]:
    """Return the pictures of rows (Q, k), None where there is none; each shard is opened once."""
    unique = np.unique(rows)
    found = dict(zip(unique.tolist(), gallery.pictures(unique, root=root), strict=True))
    return [[found[row] for row in line] for line in rows.tolist()]


def asked(gallery: Gallery, queries: Queries, k: int, root: Path | None = None) -> Answers:
    """Look queries up and note what is out of the ordinary."""
    matches, notes = gallery.nearest(queries, k), list(queries.notes)
    if k > len(gallery):
        notes.append(f"k is {k}, the gallery has {len(gallery)}; that many are given")
    if not gallery.has_vectors:
        notes.append(
            "an index made elsewhere, without its vectors: scores are the index's own, not exact"
        )
    return Answers(gallery, queries, matches, notes, root=root)


def search_with_run(
    gallery: Gallery,
    run: Path,
    how: RunSearch,
    *,
    json: Path | None = None,
    pictures: Path | None = None,
    out: Path | None = None,
) -> str:
    """Look up every test stimulus of a run, write what is asked for, and return the text.

    That is the file of the answers, of the sheet, and the folder of the picks; None leaves one out.
    """
    work = open_run(run, run_config)
    answers = ask(gallery, work, how)
    lines = [*answers.notes, _text(answers)]
    if json is not None:
        write_json(json, _content(work, answers))
        lines.append(f"{json} holds all answers")
    if pictures is not None:
        _draw(work, answers, pictures)
        lines.append(f"{pictures} shows {min(DRAWN, len(answers.rows))} stimuli")
    if out is not None:
        same = _write(work, answers, out)
        lines.append(
            f"{out} holds the picks; {same} of {len(answers.rows)} are the very picture seen"
        )
    return "\n".join(lines)


def ask(gallery: Gallery, work: Workspace, how: RunSearch) -> Answers:
    """Look up every test stimulus of a run by what was decoded of it.

    Raises DataError if the gallery is of another encoder or width than what looks it up, the two
    runs are of different subjects, or the picture of an answer is missing.
    """
    asking = work if how.pooled_run is None else open_run(how.pooled_run, run_config)
    queries, by = _queries(gallery, asking, how.first_order)
    if asking.subject.fingerprint != work.subject.fingerprint:
        raise DataError(
            f"{asking.folder} decodes {asking.subject.path}, {work.folder} decodes "
            f"{work.subject.path}; the pooled run must be of the same prepared subject"
        )
    answers = asked(gallery, queries, how.k, how.root)
    rows, tokens, second = answers.matches.rows, decoded(work), None
    if how.second_order == "none":
        pass
    elif tokens.ndim == 2 or tokens.shape[1] == 1:
        answers.notes.append(
            "no second order: the run predicts one vector a picture; ask with a run of all tokens "
            "and give this one as --pooled-run"
        )
    elif is_without_pictures(gallery, rows[rows >= 0][:PROBED], root=how.root):
        answers.notes.append(
            "no second order: the gallery is of embeddings, without pictures to embed by all "
            "tokens; name the folder of its pictures with --root"
        )
    else:
        second = select(gallery, rows, tokens, work.encoder, root=how.root)
    return Answers(gallery, queries, answers.matches, answers.notes, second, by, how.root)


def _queries(gallery: Gallery, work: Workspace, first_order: str) -> tuple[Queries, str]:
    """Return what a run looks a gallery up by, one vector a test stimulus, and what it is.

    The pooled embedding that it predicts, token 0 of the tokens that it predicts, or their mean
    where the encoder has no class token; all of them for a gallery of all tokens.
    """
    is_ridge, encoder, space = first_order == "ridge", work.encoder, gallery.info.space
    tokens = prediction(work, "ridge/tokens") if is_ridge else decoded(work)
    vectors, identity, note = np.asarray(tokens), encoder.id, ""
    if space.tokens == "all" and space.id == encoder.id:
        by = "all tokens"
    elif tokens.ndim == 2 or tokens.shape[1] == 1:
        by = "pooled embedding"
    else:
        by = "token 0" if encoder.has_class_token else "mean of tokens"
        note = CLASS_TOKEN_NOTE if encoder.has_class_token else MEAN_NOTE
        vectors, identity = pooled(work, tokens), f"{encoder.id}_pooled"
    own = VectorSpace(identity, int(np.prod(vectors.shape[1:])))
    names = work.test_ids
    queries = queries_from(vectors, space, gallery.path, work.folder, own=own, names=names)
    notes = [note] if note and not is_ridge else []
    if not space.id:
        notes.append("the gallery does not tell its encoder; only the widths were compared")
    elif space.fingerprint.split("/")[0] not in ("", encoder.fingerprint.split("/")[0]):
        notes.append(
            f"the gallery was embedded by other weights or library versions of {space.id} than the "
            "run's"
        )
    by = f"{by} of {work.folder}, {first_order}"
    return queries._replace(notes=[*queries.notes, *notes]), by


def _text(answers: Answers) -> str:
    """Return the picks for the first stimuli as lines of text."""
    ids, lines = answers.gallery.table(answers.rows[:SHOWN])["id"], []
    for q, (name, picked) in enumerate(zip(answers.queries.names, ids, strict=False)):
        place, rows = int(answers.picks[q]), answers.matches.rows[q]
        line = f"{name}: {picked or 'nothing'}, first order {place + 1} of {(rows >= 0).sum()}"
        line += f" ({answers.matches.scores[q, place]:.4f})"
        if answers.second is not None:
            line += f", picked by all tokens ({answers.second.scores[q, place]:.4f})"
        lines.append(line)
    if len(answers.queries.names) > SHOWN:
        lines.append(f"and {len(answers.queries.names) - SHOWN} more; --json or --out has all")
    return "\n".join(lines)


def _content(work: Workspace, answers: Answers) -> dict[str, Any]:
    """Return answers as JSON, with both orders and the pick of every query."""
    second, encoder = answers.second, work.encoder
    content = answers.content()
    content |= {"run": str(work.folder), "first_order_by": answers.by, "second_order": None}
    if second is not None:
        shape = {"tokens": encoder.tokens, "width": encoder.width}
        content["second_order"] = {"encoder": encoder.id, **shape, "score": "cosine of all tokens"}
    ids = answers.gallery.table(answers.rows)["id"].tolist()
    for q, answer in enumerate(content["queries"]):
        there = answers.matches.rows[q] >= 0
        answer["ranks"] = np.flatnonzero(there).tolist()
        if second is not None:
            answer["second_scores"] = second.scores[q][there].astype(float).tolist()
            answer["second_ranks"] = second.ranks[q][there].tolist()
        answer["pick"] = {"rank": int(answers.picks[q]), "row": int(answers.rows[q]), "id": ids[q]}
    return content


def _write(work: Workspace, answers: Answers, folder: Path) -> int:
    """Write the picks as reconstructions, with what was seen; an earlier call's are replaced.

    Returns how many picks are, pixel for pixel, the picture that was seen.
    """
    is_ours = (folder / ANSWERS).is_file()
    if folder.exists() and not is_ours and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty and holds no {ANSWERS}; give another --out")
    ids = answers.queries.names
    seen = work.subject.pictures_of(ids)
    retrieved = retrieved_pictures(answers.gallery, answers.rows, seen.shape[1:3], answers.root)
    same = (retrieved == seen).reshape(len(ids), -1).all(axis=1)
    content = _content(work, answers)
    for answer, is_seen in zip(content["queries"], same.tolist(), strict=True):
        answer["pick"]["is_seen"] = is_seen
    # The answers come first: by them a second call knows the folder for one of these.
    write_json(folder / ANSWERS, content)
    write_json(folder / "stimulus_ids.json", ids)
    write_array(folder / "stimuli.npy", seen)
    write_array(folder / "retrieved.npy", retrieved)
    _draw(work, answers, folder / "strip.png")
    return int(same.sum())


def retrieved_pictures(
    gallery: Gallery, rows: NDArray[np.int64], size: tuple[int, int], root: Path | None
) -> NDArray[np.uint8]:
    """Return the pictures (S, H, W, 3) of rows (S,) at one size (H, W), cut out of the middle.

    Raises DataError if a query has no answer, or a picture is missing or not readable.
    """
    if (rows < 0).any():
        raise DataError(f"query {int((rows < 0).argmax())} has no answer in {gallery.path}")
    unique, place = np.unique(rows, return_inverse=True)
    found = answer_pictures(gallery, unique, root=root)
    return np.stack([fitted(picture, size) for picture in found])[place]


def _draw(work: Workspace, answers: Answers, path: Path) -> None:
    """Draw what was seen, the first-order best 8 and the pick, framed; a line a stimulus."""
    seen = work.subject.pictures_of(answers.queries.names[:DRAWN])
    best = answers.matches.rows[:DRAWN, :BEST]
    rows = np.concatenate([best, answers.rows[:DRAWN, None]], axis=1)
    near = lines_of_pictures(answers.gallery, rows, root=answers.root)
    lines = [[own, *line] for own, line in zip(seen, near, strict=True)]
    write_sheet(path, lines, picks=[best.shape[1] + 1] * len(lines))
