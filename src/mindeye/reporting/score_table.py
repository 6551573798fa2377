"""The table of all scores: a group a metric, what else would score beside every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mindeye.metrics.registry import Metric, Scale
from mindeye.metrics.systems import Reference, marked_references, reference_name, system
from mindeye.metrics.table import Row
from mindeye.reporting import names
from mindeye.reporting.figures.dots import by_metric, references_of


@dataclass(frozen=True)
class Cell:
    """Text under a label; `kind` is the class of its column."""

    label: str
    text: str
    kind: str = ""


@dataclass(frozen=True)
class TableRow:
    """One system on the metric of its group."""

    system: str
    is_main: bool
    is_reference: bool
    cells: Sequence[Cell]
    note: str


@dataclass(frozen=True)
class TableGroup:
    """All systems on one metric; `note` holds for all of them, `beside` are its references."""

    title: str
    metric: str
    note: str
    beside: Sequence[tuple[str, str]]
    rows: Sequence[TableRow]


@dataclass(frozen=True)
class ScoreTable:
    """Groups, and the references that stand beside the rows: floors left, ceilings right."""

    groups: Sequence[TableGroup]
    floors: Sequence[Reference]
    ceilings: Sequence[Reference]
    count: int

    @property
    def width(self) -> int:
        """Columns in all."""
        return 8 + len(self.floors) + len(self.ceilings)


def score_table(rows: Sequence[Row]) -> ScoreTable:
    """Put the rows into groups by metric.

    Columns of references are those that any row has; a row does not stand beside itself.
    """
    known = references_of(rows)
    columns = {name: one for name, one in marked_references().items() if name in known}
    groups = [
        _group(metric, list(group), columns)
        for metric, group in groupby(by_metric(rows), key=lambda row: row.metric)
    ]
    return ScoreTable(
        groups=groups,
        floors=[one for one in columns.values() if one.is_floor],
        ceilings=[one for one in columns.values() if not one.is_floor],
        count=len(rows),
    )


def _group(metric: str, rows: list[Row], columns: dict[str, Reference]) -> TableGroup:
    notes = {row.note for row in rows if system(row.system).decodes}
    notes = notes or {row.note for row in rows}
    note = next(iter(notes)) if len(notes) == 1 else ""
    name = metric_name_of(rows)
    beside = references_of(rows)
    return TableGroup(
        title=name.title + (" (lower is better)" if name.lower_is_better else ""),
        metric=metric,
        note=note,
        beside=[(columns[n].short, names.number(v, name.scale)) for n, v in beside.items()],
        rows=[_row(row, name.scale, beside, columns, note) for row in rows],
    )


def metric_name_of(rows: Sequence[Row]) -> Metric:
    """Describe the metric of these rows; its pool is that of the first."""
    return names.described(rows[0].metric, rows[0].note)


def _row(
    row: Row,
    scale: Scale,
    beside: dict[str, float],
    columns: dict[str, Reference],
    note: str,
) -> TableRow:
    def text(value: float | None) -> str:
        return names.number(value, scale, unit=False)

    has_interval = row.low is not None and row.high is not None
    itself = reference_name(row.system)
    others = {name: value for name, value in beside.items() if name != itself}

    def references(*, floors: bool) -> list[Cell]:
        return [
            Cell(one.short, text(others.get(name)), f"beside {'floor' if floors else 'ceiling'}")
            for name, one in columns.items()
            if one.is_floor == floors
        ]

    return TableRow(
        system=names.system_name(row.system),
        is_main=system(row.system).is_main,
        is_reference=not system(row.system).decodes,
        cells=[
            Cell("Score", names.number(row.value, scale), "score"),
            Cell("Interval", f"{text(row.low)} – {text(row.high)}" if has_interval else "–"),
            Cell("n", f"{row.n:,}"),
            Cell("k", "–" if row.k is None else f"{row.k}"),
            Cell("Chance", text(row.chance), "floor first"),
            Cell("Shuffled pairs", text(row.floor), "floor"),
            *references(floors=True),
            *references(floors=False),
            Cell("Its own ceiling", text(row.ceiling), "ceiling last"),
        ],
        note="" if row.note == note else row.note,
    )
