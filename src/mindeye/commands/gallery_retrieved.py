"""What a gallery answered to a run: as text, as JSON, and as reconstructions to be scored.

::

    DIR/retrieved.npy        (S, H, W, 3) the picks, at the size of the stimuli
        stimuli.npy          (S, H, W, 3) what was seen
        stimulus_ids.json    in the order of both
        answers.json         every answer with both scores, and the picks
        strip.png            seen, the best 8 of the first order, the pick
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mindeye.commands.gallery_search import RunAnswers, RunSearchConfig
from mindeye.errors import UsageError
from mindeye.files import write_array, write_json
from mindeye.gallery.query import as_json
from mindeye.gallery.second_order_strip import retrieved_pictures, write_selection_strip
from mindeye.gallery.store import Gallery
from mindeye.runs.workspace import Workspace

ANSWERS = "answers.json"


def answers_json(work: Workspace, gallery: Gallery, answers: RunAnswers) -> dict[str, Any]:
    """Return answers as JSON: those of `as_json`, with both orders and the pick of every query."""
    content = as_json(gallery, answers.queries, answers.found)
    second = answers.second
    encoder = work.encoder
    content["run"] = str(work.folder)
    content["first_order_by"] = answers.by
    content["second_order"] = None
    if second is not None:
        shape = {"tokens": encoder.tokens, "width": encoder.width}
        content["second_order"] = {"encoder": encoder.id, **shape, "score": "cosine of all tokens"}
    for q, told in enumerate(content["queries"]):
        there = answers.found.matches.rows[q] >= 0
        place = int(answers.picks[q])
        told["ranks"] = np.flatnonzero(there).tolist()
        if second is not None:
            told["second_scores"] = [float(s) for s in second.scores[q][there]]
            told["second_ranks"] = second.ranks[q][there].tolist()
        told["pick"] = {"rank": place, "row": int(answers.rows[q]), "id": answers.pick_id(q)}
    return content


def answers_text(answers: RunAnswers, *, shown: int = 20) -> str:
    """Return picks as lines of text, of the first stimuli."""
    matches = answers.found.matches
    lines = []
    for q, name in enumerate(answers.queries.names[:shown]):
        place = int(answers.picks[q])
        told = f"{name}: {answers.pick_id(q) or 'nothing'}, first order {place + 1}"
        told += f" of {int((matches.rows[q] >= 0).sum())} ({matches.scores[q, place]:.4f})"
        if answers.second is not None:
            told += f", picked by all tokens ({answers.second.scores[q, place]:.4f})"
        lines.append(told)
    if len(answers.queries.names) > shown:
        lines.append(f"and {len(answers.queries.names) - shown} more; --json or --out has all")
    return "\n".join(lines)


def write_retrieved(
    work: Workspace, gallery: Gallery, answers: RunAnswers, folder: Path, config: RunSearchConfig
) -> int:
    """Write the picks as reconstructions, with what was seen; an earlier call's are replaced.

    Returns
    -------
    int
        How many picks are, pixel for pixel, the picture that was seen.

    Raises
    ------
    DataError
        If the picture of a pick is missing or not readable.
    UsageError
        If the folder holds something else.
    """
    is_ours = (folder / ANSWERS).is_file()
    if folder.exists() and not is_ours and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty and holds no {ANSWERS}; give another --out")
    ids = answers.queries.names
    seen = work.subject.pictures_of(ids)
    size = (int(seen.shape[1]), int(seen.shape[2]))
    retrieved = retrieved_pictures(gallery, answers.rows, size, root=config.root)
    same = (retrieved == seen).reshape(len(ids), -1).all(axis=1)
    content = answers_json(work, gallery, answers)
    for told, is_seen in zip(content["queries"], same.tolist(), strict=True):
        told["pick"]["is_seen"] = is_seen
    # The answers come first: by them a second call knows the folder for one of these.
    write_json(folder / ANSWERS, content)
    write_json(folder / "stimulus_ids.json", ids)
    write_array(folder / "stimuli.npy", seen)
    write_array(folder / "retrieved.npy", retrieved)
    draw_strip(work, gallery, answers, folder / "strip.png", config)
    return int(same.sum())


def draw_strip(
    work: Workspace, gallery: Gallery, answers: RunAnswers, path: Path, config: RunSearchConfig
) -> int:
    """Draw what was seen beside what was found; returns how many stimuli are on it."""
    seen = work.subject.pictures_of(answers.queries.names)
    matches = answers.found.matches
    return write_selection_strip(gallery, seen, matches, answers.picks, path, root=config.root)
