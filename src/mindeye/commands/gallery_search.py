"""A gallery asked with a run: first order by one vector a picture, second order by all tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.gallery.query import Found, Queries, queries_from, search_gallery
from mindeye.gallery.second_order import NEIGHBOURS, Selection, is_without_pictures, select
from mindeye.gallery.store import Gallery, Space
from mindeye.runs.scoring.controls import pooled
from mindeye.runs.scoring.predictions import decoded, prediction
from mindeye.runs.workspace import Workspace

FirstOrder = Literal["decoder", "ridge"]

PROBED = 64
"""Answers by which it is judged whether a gallery of embeddings has pictures at hand."""

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
class RunSearchConfig:
    """How a gallery is asked with a run.

    Parameters
    ----------
    k
        Neighbours of the first order; the paper takes 16.
    second_order
        ``tokens`` selects among them by all tokens; ``none`` takes the nearest.
    first_order
        ``decoder`` looks up by what the run's decoder predicts, ``ridge`` by what its ridge
        regression does, which fits every token for itself.
    root
        Folder below which the gallery's pictures lie, where that is not the source it was built
        from.
    batch_size
        Pictures embedded at once.
    """

    k: int = NEIGHBOURS
    second_order: Literal["tokens", "none"] = "tokens"
    first_order: FirstOrder = "decoder"
    root: Path | None = None
    batch_size: int = 64


class RunAnswers(NamedTuple):
    """What a gallery answers to a run.

    Attributes
    ----------
    queries
        One a test stimulus, named by its id.
    found
        Answers of the first order.
    second
        What the second order says of them; None without one.
    by
        What the first order looked up by.
    """

    queries: Queries
    found: Found
    second: Selection | None
    by: str

    @property
    def picks(self) -> NDArray[np.int64]:
        """First-order rank of the pick of every query, (S,)."""
        if self.second is None:
            return np.zeros(len(self.queries.names), dtype=np.int64)
        return self.second.picks

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of the pick of every query, (S,)."""
        picked: NDArray[np.int64] = np.take_along_axis(
            self.found.matches.rows, self.picks[:, None], axis=1
        )[:, 0]
        return picked

    def pick_id(self, query: int) -> str:
        """Return the id of the pick of a query, empty if there is none."""
        k = self.found.matches.rows.shape[1]
        return str(self.found.table["id"].iloc[query * k + int(self.picks[query])])


def search_with_run(
    work: Workspace,
    gallery: Gallery,
    config: RunSearchConfig,
    *,
    pooled_work: Workspace | None = None,
) -> RunAnswers:
    """Look up every test stimulus of a run by what was decoded of it.

    Parameters
    ----------
    work
        The run; its tokens decide the second order.
    gallery
        That is asked.
    config
        How.
    pooled_work
        A run of the same subject whose predictions look up the neighbours, in place of `work`.

    Raises
    ------
    DataError
        If the gallery is of another encoder or width than what looks it up, the two runs are of
        different subjects, or the picture of an answer is missing.
    UsageError
        If k is less than 1.
    """
    asking = work if pooled_work is None else pooled_work
    queries, by = run_queries(asking, gallery, config.first_order)
    if pooled_work is not None and pooled_work.subject.fingerprint != work.subject.fingerprint:
        raise DataError(
            f"{pooled_work.folder} decodes {pooled_work.subject.path}, {work.folder} decodes "
            f"{work.subject.path}; the pooled run must be of the same prepared subject"
        )
    found = search_gallery(gallery, queries, config.k)
    tokens = decoded(work)
    why = ""
    if config.second_order == "tokens":
        why = _no_second_order(gallery, found, tokens, config.root)
    if why or config.second_order == "none":
        notes = [*found.notes, *([why] if why else [])]
        return RunAnswers(queries, found._replace(notes=notes), None, by)
    second = select(
        gallery,
        found.matches.rows,
        tokens,
        work.encoder,
        root=config.root,
        batch_size=config.batch_size,
    )
    return RunAnswers(queries, found, second, by)


def run_queries(
    work: Workspace, gallery: Gallery, first_order: FirstOrder = "decoder"
) -> tuple[Queries, str]:
    """Return what a run looks a gallery up by, one vector a test stimulus, and what it is.

    The pooled embedding that it predicts, token 0 of the tokens that it predicts, or their mean
    where the encoder has no class token; all of them for a gallery of all tokens.

    Raises
    ------
    DataError
        If the gallery is of another encoder or width; both are named.
    """
    is_ridge = first_order == "ridge"
    encoder, tokens = work.encoder, prediction(work, "ridge/tokens") if is_ridge else decoded(work)
    if gallery.info.space.tokens == "all" and gallery.info.space.id == encoder.id:
        vectors, identity, by = tokens.reshape(len(tokens), -1), encoder.id, "all tokens"
    elif tokens.ndim == 2 or tokens.shape[1] == 1:
        vectors, identity, by = tokens.reshape(len(tokens), -1), encoder.id, "pooled embedding"
    else:
        by = "token 0" if encoder.has_class_token else "mean of tokens"
        vectors, identity = pooled(work, tokens), f"{encoder.id}_pooled"
    space = Space(identity, int(vectors.shape[1]))
    queries = queries_from(
        np.asarray(vectors), gallery, str(work.folder), space=space, names=work.test_ids
    )
    notes = [*queries.notes, *_notes(work, gallery, "" if is_ridge else by)]
    return queries._replace(notes=notes), f"{by} of {work.folder}, {first_order}"


def _notes(work: Workspace, gallery: Gallery, by: str) -> list[str]:
    notes = {"token 0": [CLASS_TOKEN_NOTE], "mean of tokens": [MEAN_NOTE]}.get(by, [])
    space = gallery.info.space
    if not space.id:
        notes = [*notes, "the gallery does not tell its encoder; only the widths were compared"]
    elif space.fingerprint.partition("/")[0] not in (
        "",
        work.encoder.fingerprint.partition("/")[0],
    ):
        notes = [
            *notes,
            f"the gallery was embedded by other weights or library versions of {space.id} than "
            "the run's",
        ]
    return notes


def _no_second_order(
    gallery: Gallery, found: Found, tokens: NDArray[Any], root: Path | None
) -> str:
    """Return why there can be no second order, empty if there can."""
    if tokens.ndim == 2 or tokens.shape[1] == 1:
        return (
            "no second order: the run predicts one vector a picture; ask with a run of all tokens "
            "and give this one as --pooled-run"
        )
    rows = found.matches.rows
    if is_without_pictures(gallery, rows[rows >= 0][:PROBED], root=root):
        return (
            "no second order: the gallery is of embeddings, without pictures to embed by all "
            "tokens; name the folder of its pictures with --root"
        )
    return ""
