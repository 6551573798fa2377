"""Build the report: one HTML file with everything inside, made to be looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindeye import files
from mindeye.metrics.systems import marked_references
from mindeye.metrics.table import Row
from mindeye.reporting import names, pictures
from mindeye.reporting.checklist import WORDS, checklist, headline_problems
from mindeye.reporting.data import ReportData
from mindeye.reporting.evidence import evidence
from mindeye.reporting.figures.curves import cumulative_match, curve_panels
from mindeye.reporting.figures.dots import DotPanel, dot_panels
from mindeye.reporting.headline import first_sentence, headline_tiles, subject_facts
from mindeye.reporting.score_table import score_table


def build_report(data: ReportData, out: Path) -> Path:
    """Write the report as one self-contained HTML file.

    Pictures, style and figures are inside the file; it opens from disk, in light and dark, on
    a phone and on paper, and loads nothing from the network. Written atomically.

    Parameters
    ----------
    data : ReportData
        What the page shows.
    out : Path
        HTML file to write, or a folder to put ``report.html`` in.

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
        matches=None if data.ranks is None else cumulative_match(data.ranks, gallery_size),
        gallery_size=gallery_size,
        per_group=len(next(iter(pictures.stimuli_on_page(data).values()))),
        table=score_table(data.rows),
        missing=[(m, names.described(m["metric"]).title) for m in data.missing],
        checks=checklist(data.findings),
        words=WORDS,
        evidence=evidence(data.points, data.rows),
        curves=curve_panels(data.curves),
        configuration=flattened(data.configuration),
        timings=_timings(data.timings),
        level=f"{100 * data.level:g}%",
        **_panels(data.rows),
    )


def _panels(rows: Sequence[Row]) -> dict[str, Any]:
    """Dot panels by group, and the references that are marked in any of them."""
    drawn = dot_panels(rows)
    panels: dict[str, list[DotPanel]] = defaultdict(list)
    for panel in drawn:
        panels[panel.group].append(panel)
    marked = {mark.letter for panel in drawn for mark in panel.references}
    return {
        "panels": panels,
        "references": [one for one in marked_references().values() if one.letter in marked],
    }


def flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings to dotted names and their values as text.

    Examples
    --------
    >>> flattened({"high": {"width": 512}, "seed": 0})
    [('high.width', '512'), ('seed', '0')]
    """
    out: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out += flattened(value, f"{name}.")
        else:
            out.append((name, str(value)))
    return out


def _timings(timings: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Stage, duration in words, and its share of the longest stage in percent."""
    longest = max(timings.values(), default=0.0) or 1.0
    return [(k, names.duration(v), round(100 * v / longest, 1)) for k, v in timings.items()]
