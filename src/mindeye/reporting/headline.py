"""The first lines of the page: one sentence, up to four numbers, and facts about the subject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mindeye.metrics.registry import preferred_metric
from mindeye.metrics.systems import LOOKUP, preferred_system, system
from mindeye.metrics.table import Row
from mindeye.reporting import names
from mindeye.reporting.data import ReportData
from mindeye.reporting.figures.dots import DotPanel, dot_panel

_TILES = 4
_RETRIEVAL = ("brain_to_image_top1", "image_to_brain_top1")
_PICTURES = ("SSIM", "PixCorr")


@dataclass(frozen=True)
class Tile:
    """One big number with what it must be compared with."""

    title: str
    system: str
    value: str
    unit: str
    facts: Sequence[tuple[str, str]]
    panel: DotPanel


def headline_tiles(data: ReportData) -> list[Tile]:
    """Choose up to four rows for the top of the page: retrieval both ways, then pictures."""
    rows = {(row.metric, row.system): row for row in data.rows}
    retrieval, picture = (_ours(rows, metrics[0]) for metrics in (_RETRIEVAL, _PICTURES))
    if not retrieval and not picture:  # a baseline is no headline where the run has its own
        retrieval, picture = (_any(rows, metrics[0]) for metrics in (_RETRIEVAL, _PICTURES))
    features = [m for m, s in rows if names.described(m).family == "two_way" and s == picture]
    keys = [(metric, retrieval) for metric in _RETRIEVAL]
    keys += [(metric, picture) for metric in (preferred_metric(features), *_PICTURES)]
    return [_tile(rows[key], data) for key in keys if key in rows][:_TILES]


def _ours(rows: Iterable[tuple[str, str]], metric: str) -> str:
    """Return the run's own decoder that has a row of a metric and may be its headline."""
    systems = [s for m, s in rows if m == metric and system(s).role == "decoder"]
    return preferred_system(s for s in systems if system(s).headline or system(s).on_page)


def _any(rows: Iterable[tuple[str, str]], metric: str) -> str:
    return next((s for m, s in rows if m == metric and system(s).decodes), "")


def _tile(row: Row, data: ReportData) -> Tile:
    name = names.described(row.metric, row.note)

    def text(value: float | None, without: str = "not known") -> str:
        return without if value is None else names.number(value, name.scale, unit=False)

    facts = []
    if row.low is not None and row.high is not None:
        facts.append((f"{100 * data.level:g}% interval", f"{text(row.low)} – {text(row.high)}"))
    facts += [("chance", text(row.chance, "none")), ("floor", text(row.floor))]
    facts.append(("ceiling", text(row.ceiling)))
    lookup = row.references.get(LOOKUP)
    if lookup is not None:
        facts.append(("lookup", text(lookup)))
    facts.append(("n", f"{row.n:,}"))
    if row.k is not None:
        facts.append(("candidates", f"{row.k}"))
    return Tile(
        title=name.title,
        system=names.system_name(row.system),
        value=text(row.value),
        unit="%" if name.scale == "share" else "",
        facts=facts,
        panel=dot_panel([row]),
    )


def first_sentence(data: ReportData) -> str:
    """Say in one sentence what was found, from the rows."""
    if data.subject is None:
        systems = {row.system for row in data.rows if system(row.system).decodes}
        n = max(row.n for row in data.rows)
        return f"Scores of {len(systems)} system{'s' * (len(systems) > 1)} on {n:,} test pictures."
    name, n = data.subject.name, len(data.seen)
    top1 = [r for r in data.rows if r.metric == _RETRIEVAL[0] and system(r.system).is_main]
    if not top1:
        return f"Pictures decoded from the brain activity of {name}, for {n:,} test pictures."
    row, kind = top1[0], "simulated " if data.subject.simulated else ""
    pool = row.note.split(" ")[0]
    pool = pool if pool.isdigit() else f"{row.n:,}"
    parts = [f"guessing would find it in {names.number(row.chance, 'share')}"]
    if row.ceiling is not None:
        parts.append(f"an ideal observer in {names.number(row.ceiling, 'share')}")
    return (
        f"Given the {kind}brain activity of {name}, the decoder picks the picture "
        f"seen out of {pool} in {names.number(row.value, 'share')} of cases; "
        f"{' and '.join(parts)}."
    )


def subject_facts(data: ReportData) -> list[tuple[str, str]]:
    """Facts about the subject, label and text."""
    subject = data.subject
    if subject is None:
        return []
    facts = [("Subject", subject.name), ("Source", subject.source)]
    for label in ("voxels", "stimuli", "trials", "sessions"):
        value = getattr(subject, label)
        if value is not None:
            facts.append((label.capitalize(), f"{value:,}"))
    facts.append(("Test pictures", f"{len(data.seen):,}"))
    facts += list(subject.extra.items())
    return facts + ([("Licence", subject.licence)] if subject.licence else [])
