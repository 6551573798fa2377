"""Build the report: one HTML file with everything inside, made to be looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindeye import files
from mindeye.metrics.registry import preferred_metric
from mindeye.metrics.systems import LOOKUP, marked_references, preferred_system, system
from mindeye.metrics.table import Row
from mindeye.reporting import figures, names, pictures
from mindeye.reporting.belief import evidence
from mindeye.reporting.checklist import WORDS, checklist, headline_problems
from mindeye.reporting.data import ReportData
from mindeye.reporting.score_table import score_table

_TILES = 4


@dataclass(frozen=True)
class Tile:
    """One big number."""

    title: str
    system: str
    value: str
    unit: str
    facts: Sequence[tuple[str, str]]
    panel: figures.DotPanel


def build_report(data: ReportData, out: Path) -> Path:
    """Write the report as one self-contained HTML file.

    Pictures, style and figures are inside the file; it opens from disk, in light and dark, on
    a phone and on paper, and asks the network for nothing. Written atomically.

    Parameters
    ----------
    data : ReportData
        What to show.
    out : Path
        The HTML file, or a folder to put ``report.html`` in.

    Returns
    -------
    Path
        The file written.
    """
    path = out if out.suffix == ".html" else out / "report.html"
    files.write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """Render the page as a string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mindeye.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    gallery_size = len(data.seen if data.gallery is None else data.gallery)
    return environment.get_template("report.html.j2").render(
        data=data,
        problems=[*data.problems, *headline_problems(data.findings)],
        facts=subject_facts(data),
        sentence=data.sentence or first_sentence(data),
        tiles=headline_tiles(data),
        columns=[names.system_name(s) for s in ("seen", *data.pictures)],
        reconstructions=pictures.reconstruction_groups(data) if data.pictures else [],
        strips=pictures.retrieval_groups(data),
        matches=(
            None if data.ranks is None else figures.cumulative_match(data.ranks, gallery_size)
        ),
        gallery_size=gallery_size,
        per_group=len(next(iter(pictures.shown(data).values()))),
        table=score_table(data.rows),
        missing=[(m, names.described(m["metric"]).title) for m in data.missing],
        checks=checklist(data.findings),
        words=WORDS,
        evidence=evidence(data.points, data.rows),
        curves=figures.curve_panels(data.curves),
        configuration=flattened(data.configuration),
        timings=_timings(data.timings),
        level=f"{100 * data.level:g}%",
        **_panels(data.rows),
    )


def _panels(rows: Sequence[Row]) -> dict[str, Any]:
    """Dot panels by group, and the references that are marked in any of them."""
    drawn = figures.dot_panels(rows)
    panels: dict[str, list[figures.DotPanel]] = defaultdict(list)
    for panel in drawn:
        panels[panel.group].append(panel)
    marked = {mark.letter for panel in drawn for mark in panel.references}
    return {
        "panels": panels,
        "references": [one for one in marked_references().values() if one.letter in marked],
    }


def headline_tiles(data: ReportData) -> list[Tile]:
    """Choose up to four rows for the top of the page: retrieval both ways, then pictures."""
    rows = {(row.metric, row.system): row for row in data.rows}
    picture = preferred_system(_ours(rows, "SSIM"))
    retrieval = preferred_system(_ours(rows, "brain_to_image_top1"))
    if not retrieval and not picture:  # a baseline is no headline where the run has its own
        retrieval = next((s for m, s in rows if m == "brain_to_image_top1"), "")
    features = [m for m, s in rows if names.described(m).family == "two_way" and s == picture]
    wanted = [
        ("brain_to_image_top1", retrieval),
        ("image_to_brain_top1", retrieval),
        (preferred_metric(features), picture),
        ("SSIM", picture),
        ("PixCorr", picture),
    ]
    return [_tile(rows[key], data) for key in wanted if key in rows][:_TILES]


def _ours(rows: Iterable[tuple[str, str]], metric: str) -> list[str]:
    """Return the run's own decoders that have a row of a metric and may be its headline."""
    systems = [s for m, s in rows if m == metric and system(s).role == "decoder"]
    return [s for s in systems if system(s).headline or system(s).on_page]


def first_sentence(data: ReportData) -> str:
    """Say in one sentence what was found, from the rows."""
    row = next(
        (r for r in data.rows if r.metric == "brain_to_image_top1" and system(r.system).is_main),
        None,
    )
    n = len(data.seen)
    if row is None:
        return f"What was decoded from {data.subject.name} for {n:,} test pictures."
    kind = "simulated " if data.subject.simulated else ""
    pool = row.note.split(" ")[0]
    pool = pool if pool.isdigit() else f"{row.n:,}"
    parts = [f"guessing would find it in {names.number(row.chance, 'share')}"]
    if row.ceiling is not None:
        parts.append(f"an ideal observer in {names.number(row.ceiling, 'share')}")
    return (
        f"Given the {kind}brain activity of {data.subject.name}, the decoder picks the picture "
        f"seen out of {pool} in {names.number(row.value, 'share')} of cases; "
        f"{' and '.join(parts)}."
    )


def subject_facts(data: ReportData) -> list[tuple[str, str]]:
    """Facts under the title, label and text."""
    subject = data.subject
    facts = [("Subject", subject.name), ("Source", subject.source)]
    for label in ("voxels", "stimuli", "trials", "sessions"):
        value = getattr(subject, label)
        if value is not None:
            facts.append((label.capitalize(), f"{value:,}"))
    facts.append(("Test pictures", f"{len(data.seen):,}"))
    facts += list(subject.extra.items())
    return facts + ([("Licence", subject.licence)] if subject.licence else [])


def flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings to dotted names and their values as text."""
    out: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out += flattened(value, f"{name}.")
        else:
            out.append((name, str(value)))
    return out


def _tile(row: Row, data: ReportData) -> Tile:
    name = names.described(row.metric, row.note)
    facts = []
    if row.low is not None and row.high is not None:
        low, high = (names.number(x, name.scale, unit=False) for x in (row.low, row.high))
        facts.append((f"{100 * data.level:g}% interval", f"{low} – {high}"))
    for label in ("chance", "floor", "ceiling"):
        value = getattr(row, label)
        text = names.number(value, name.scale, unit=False) if value is not None else "none"
        if value is None and label != "chance":
            text = "not known"
        facts.append((label, text))
    lookup = row.references.get(LOOKUP)
    if lookup is not None:
        facts.append(("lookup", names.number(lookup, name.scale, unit=False)))
    facts.append(("n", f"{row.n:,}"))
    if row.k is not None:
        facts.append(("k drawn", f"{row.k}"))
    return Tile(
        title=name.title,
        system=names.system_name(row.system),
        value=names.number(row.value, name.scale, unit=False),
        unit="%" if name.scale == "share" else "",
        facts=facts,
        panel=figures.single_dot(row),
    )


def _timings(timings: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Stage, duration in words, and its share of the longest stage in percent."""
    longest = max(timings.values(), default=0.0) or 1.0
    return [(k, names.duration(v), round(100 * v / longest, 1)) for k, v in timings.items()]
