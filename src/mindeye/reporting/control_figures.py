"""Which points of a control are drawn, and how: few systems and metrics, the run's own first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mindeye.metrics.points import Point
from mindeye.metrics.registry import preferred_metric
from mindeye.metrics.systems import Role, preferred_system, system
from mindeye.metrics.table import Row
from mindeye.reporting.figures.condition_curves import Line, condition_curve
from mindeye.reporting.figures.curves import CurvePanel
from mindeye.reporting.figures.dots import (
    DotPanel,
    Entry,
    by_metric,
    condition_panel,
    dot_panel,
)
from mindeye.reporting.names import described, number, system_name

FULL = "brain_to_image_full_top1"

EMBEDDING_METRICS = ("effective_rank", "out_of_span")
"""Metrics of all predictions together, which are in the table."""


class Figures(NamedTuple):
    """What a control shows: curves, dot panels, and notes under them."""

    curves: Sequence[CurvePanel] = ()
    panels: Sequence[DotPanel] = ()
    notes: Sequence[str] = ()


def _feature(metrics: Sequence[str]) -> str:
    """Return the feature network to show."""
    return preferred_metric([m for m in metrics if described(m).family == "two_way"])


def _preferred(systems: Sequence[str], role: Role) -> str:
    return preferred_system(s for s in systems if system(s).role == role)


def _systems(points: Sequence[Point], metric: str) -> list[str]:
    return list(dict.fromkeys(p.system for p in points if p.metric == metric))


def _metrics(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(p.metric for p in points))


def _present(panels: Sequence[DotPanel | None]) -> list[DotPanel]:
    return [panel for panel in panels if panel is not None]


def nway(points: Sequence[Point]) -> Figures:
    """Draw the score against the number of alternatives: a decoder, a baseline and a ceiling."""
    metrics = _metrics(points)
    metrics_shown = ("brain_to_image_top1", "image_to_brain_top1", _feature(metrics))
    curves = []
    for metric in [m for m in metrics_shown if m in metrics]:
        there = _systems(points, metric)
        main, baseline = (_preferred(there, role) for role in ("decoder", "baseline"))
        main = main or baseline
        kinds = {main: "", baseline: "", _preferred(there, "ceiling"): "ceiling"}
        lines = [
            Line(system_name(s), [p for p in points if (p.metric, p.system) == (metric, s)],
                 s == main, kind if s != main else "")
            for s, kind in kinds.items() if s in there
        ]  # fmt: skip
        title = described(metric).title.split(",")
        curve = condition_curve(
            ",".join(title[:1] if described(metric).needs == "embeddings" else title), lines,
            unit="alternatives", logarithmic=True,
        )  # fmt: skip
        curves += [] if curve is None else [curve]
    return Figures(curves=curves)


def trials(points: Sequence[Point]) -> Figures:
    """Draw the score against the number of trials that are averaged."""
    curves = []
    for metric in [m for m in _metrics(points) if described(m).scale == "share"]:
        there = _systems(points, metric)
        main = preferred_system(there)
        lines = [
            Line(system_name(s), [p for p in points if (p.metric, p.system) == (metric, s)],
                 s == main)
            for s in there
        ]  # fmt: skip
        curve = condition_curve(described(metric).title, lines, unit="by trials")
        curves += [] if curve is None else [curve]
    return Figures(curves=curves)


def nearness(points: Sequence[Point]) -> Figures:
    """Draw the score by thirds of nearness to the training pictures, and the nearness itself."""
    strata = [p for p in points if p.metric != "similarity"]
    metrics = _metrics(strata)
    panels: list[DotPanel | None] = []
    notes = []
    for metric in (FULL, _feature(metrics), "SSIM"):
        selected = [p for p in strata if p.metric == metric]
        selected = [p for p in selected if p.system == preferred_system(_systems(selected, metric))]
        if not selected:
            continue
        title = f"{described(metric).title}: {system_name(selected[0].system)}"
        parts = [p for p in selected if p.condition != "spearman"]
        panels.append(
            condition_panel(
                title,
                [
                    Entry(_STRATA.get(p.condition, p.condition), p, p.condition != "all")
                    for p in parts
                ],
            )
        )
        notes += [_rho(title, p) for p in selected if p.condition == "spearman"]
    near = [p for p in points if p.metric == "similarity"]
    panels.append(
        condition_panel(
            "How near the nearest training picture is",
            [Entry(_STRATA.get(p.condition, p.condition), p, i == 0) for i, p in enumerate(near)],
        )
    )
    return Figures(panels=_present(panels), notes=notes)


_STRATA = {
    "all": "all pictures",
    "near": "nearest third",
    "middle": "middle third",
    "far": "farthest third",
    "test to training": "test pictures",
    "training to other training": "training pictures",
}


def _rho(title: str, point: Point) -> str:
    figures = f"{point.value:+.2f}"
    if point.low is not None and point.high is not None:
        figures += f" (from {point.low:+.2f} to {point.high:+.2f})"
    return f"{title}: rank correlation of score and nearness {figures.replace('-', '−')}."


def clusters(points: Sequence[Point]) -> Figures:
    """Draw two-way identification within clusters, beside that among as many at random."""
    panels = []
    for control in dict.fromkeys(p.control for p in points):
        selected = [
            p for p in points if p.control == control and described(p.metric).kind == "two_way"
        ]
        entries = []
        for name in dict.fromkeys(p.system for p in selected):
            main = name == preferred_system(p.system for p in selected)
            if system(name).controls != "all" and not main:
                continue
            for i, p in enumerate(q for q in selected if q.system == name):
                label = "same cluster" if p.condition == "same cluster" else "at random"
                entries.append(Entry(f"{system_name(name)}, {label}", p, main, i == 0))
        by = control.removeprefix("same_cluster_of_")
        panels.append(condition_panel(f"Two-way, within clusters of {by}", entries))
    return Figures(panels=_present(panels))


def regions(points: Sequence[Point]) -> Figures:
    """Draw the score from a region alone, from as many random voxels, and without the region."""
    panels = []
    for metric in (FULL, "image_to_brain_full_top1"):
        selected = {
            p.condition: p
            for p in points
            if p.metric == metric and not p.condition.endswith(" less all voxels")
        }
        whole = selected.pop("all voxels", None)
        entries = [] if whole is None else [Entry("all voxels", whole, True)]
        for region in dict.fromkeys(name for name in map(_region, selected) if name):
            labels = {
                f"{region} alone": f"{region} alone",
                f"as many random voxels as {region}": f"random, as {region}",
                f"without {region}": f"without {region}",
            }
            here = [name for name in labels if name in selected]
            entries += [
                Entry(labels[name], selected[name], name.endswith(" alone"), i == 0)
                for i, name in enumerate(here)
            ]
        panels.append(condition_panel(described(metric).title, entries) if selected else None)
    return Figures(panels=_present(panels))


def _region(condition: str) -> str:
    """Return the region that a condition names."""
    for start in ("as many random voxels as ", "without "):
        if condition.startswith(start):
            return condition.removeprefix(start)
    return condition.removesuffix(" alone") if condition.endswith(" alone") else ""


def embedding_rows(rows: Sequence[Row]) -> Figures:
    """Show the rows of `effective_rank` and `out_of_span`, which are in the table."""
    panels, notes = [], []
    for metric in EMBEDDING_METRICS:
        selected = [row for row in by_metric(rows) if row.metric == metric]
        if selected:
            panels.append(dot_panel(selected))
            note = selected[0].note.replace("; ceiling: the true embeddings", "")
            notes.append(f"{described(metric).title}: {note}.")
    return Figures(panels=panels, notes=notes)


def candidates(points: Sequence[Point]) -> Figures:
    """Draw the score of a draw without a choice, of the pick, and of the best candidate."""
    panels: list[DotPanel | None] = []
    notes = []
    metrics = _metrics(points)
    for metric in ("SSIM", _feature(metrics)):
        name = preferred_system(_systems(points, metric))
        selected = {p.condition: p for p in points if (p.metric, p.system) == (metric, name)}
        if "k = 1" not in selected:
            continue
        count = sum(condition.startswith("candidate ") for condition in selected)
        labels = {
            "k = 1": "k = 1, no choice",
            "picked": f"picked of {count}",
            "best of n": "best by the truth",
        }
        title = f"{described(metric).title}: {system_name(name)}"
        panels.append(
            condition_panel(
                title,
                [
                    Entry(label, selected[condition], condition == "picked")
                    for condition, label in labels.items()
                    if condition in selected
                ],
            )
        )
        sd, scale = selected.get("sd within stimulus"), described(metric).scale
        if sd is not None:
            spread = number(sd.value, scale)
            notes.append(f"{title}: candidates of one stimulus differ by {spread} (SD).")
    return Figures(panels=_present(panels), notes=notes)


def conditions(points: Sequence[Point]) -> Figures:
    """Show the first metric of a control that has no figure of its own, a row a condition."""
    metric = _metrics(points)[0]
    selected = [p for p in points if p.metric == metric]
    main = preferred_system(_systems(selected, metric))
    entries = [Entry(p.condition, p, p.system == main) for p in selected if p.system == main]
    title = f"{described(metric).title}: {system_name(main)}" if main else metric
    return Figures(panels=_present([condition_panel(title, entries)]))
