"""Write the tables of docs/explanation/scale.md out of what `mindeye bench gallery` measured.

python scripts/gallery_scale.py 1e4.json 1e5.json 1e6.json 1e7.json \
    --docs docs/explanation/scale.md \
    --memory-price 3 --disk-price 0.08 --core-price 0.04 --said "assumed, 2026-11, not looked up"

Measured and extrapolated stay apart: they are different tables. Prices have no defaults; without
them no cost is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is not installed

from benchmarks.gallery_table import ROW_ID, Assumptions, growth, plan, verdict


def row(*cells: object) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(str(c) for c in cells)} |"


def head(*cells: str) -> list[str]:
    """Return the first two lines of a table."""
    return [row(*cells), "|" + "---|" * len(cells)]


def gigabytes(number: float) -> str:
    """Format bytes."""
    return f"{number / 1e9:.2f}" if number < 1e11 else f"{number / 1e9:,.0f}"


def power(number: float) -> str:
    """Format a count."""
    return f"{number:,.0f}"


def measured(benches: list[dict[str, Any]]) -> list[str]:
    """Return what was measured, a line an index and size."""
    lines = head(
        "vectors",
        "index",
        "build s",
        "own memory GB",
        "disk GB",
        "recall@k",
        "one query ms",
        "95 %",
        "queries/s",
        "x exact (batch)",
        "overhead over faiss (one)",
        "search memory, own / total",
        "point",
        "load",
    )
    for content in benches:
        for name, way in content["ways"].items():
            index, who = name.split(":")
            if index == "exact":
                lines.append(
                    row(
                        power(content["vectors_count"]),
                        "exact (ours)",
                        "–",
                        "–",
                        "–",
                        "1.000",
                        f"{way['single_median'] * 1e3:.1f}",
                        f"{way['single_95'] * 1e3:.1f}",
                        f"{way['queries_per_second']:.0f}",
                        1,
                        "–",
                        "–",
                        "–",
                        content["machine"]["load"],
                    )
                )
            if index == "exact" or who != "ours":
                continue
            one = content["indices"][index]
            point = {k: v for k, v in one["point"].items() if not k.startswith("tuning_")}
            lines.append(
                row(
                    power(content["vectors_count"]),
                    index,
                    f"{one['build']['seconds']:.0f}",
                    gigabytes(one["build"]["peak_anonymous"]),
                    f"{one['build']['bytes'] / 1e9:.3f}",
                    f"{way['recall']:.3f}",
                    f"{way['single_median'] * 1e3:.2f}",
                    f"{way['single_95'] * 1e3:.2f}",
                    f"{way['queries_per_second']:.0f}",
                    f"{one['speed_up']['batch']:.1f}",
                    f"{one['overhead']['single']:.1%}",
                    f"{one['memory']['one_anonymous_share']:.0%} / "
                    f"{one['memory']['one_resident_share']:.0%}",
                    ", ".join(f"{k} {v}" for k, v in point.items()) or "–",
                    content["machine"]["load"],
                )
            )
    lines += [
        "",
        *head(
            "vectors",
            "drawn s",
            "parts s",
            "own memory GB",
            "with mapped pages GB",
            "vectors GB",
            "exact pass, s a query",
        ),
    ]
    for content in benches:
        parts, exact = content["gallery"], content["exact"]
        lines.append(
            row(
                power(content["vectors_count"]),
                f"{content['vectors']['seconds']:.0f}",
                f"{parts['seconds']:.0f}",
                gigabytes(parts["peak_anonymous"]),
                gigabytes(parts["peak_resident"]),
                gigabytes(parts["bytes"]),
                f"{exact['seconds'] / exact['queries']:.4f}",
            )
        )
    return lines


def curves(benches: list[dict[str, Any]], index: str) -> list[str]:
    """Return the points tried at the largest size, the chosen one in bold."""
    content = next(c for c in reversed(benches) if index in c["indices"])
    one = content["indices"][index]
    options = [k for k in one["points"][0] if not k.startswith("tuning_")]
    lines = [
        f"{index} at {power(content['vectors_count'])} vectors, on "
        f"{max(8, content['queries'] // 2)} tuning queries; chosen (bold): {content['rule']}.",
        "",
        *head(*options, "recall@k", "ms a query of a batch"),
    ]
    for number, point in enumerate(one["points"]):
        cells = [point[o] for o in options]
        cells += [f"{point['tuning_recall']:.3f}", f"{point['tuning_seconds'] * 1e3:.2f}"]
        lines.append(row(*(f"**{c}**" if number == one["chosen"] else c for c in cells)))
    return lines


def goals(benches: list[dict[str, Any]]) -> list[str]:
    """Return how the goals, which are set for 10^6 vectors, stand at every size."""
    lines = head("vectors", "goal", "")
    for content in benches:
        lines += [
            row(power(content["vectors_count"]), name, text)
            for name, text in verdict(content).items()
        ]
    return lines


def laws(benches: list[dict[str, Any]], index: str) -> list[str]:
    """Return the fitted growth."""
    sizes = [power(c["vectors_count"]) for c in benches if index in c["indices"]]
    lines = [
        f"{index}, value = factor x vectors^exponent, least squares of the logarithms over "
        f"{', '.join(sizes)} vectors" + (" (two sizes: no residual)." if len(sizes) == 2 else "."),
        "",
        *head("quantity", "exponent", "factor", "off by at most"),
    ]
    for name, law in growth(benches, index).items():
        off = "–" if law.points == 2 else f"x {law.worst:.2f}"
        lines.append(row(name, f"{law.exponent:.2f}", f"{law.factor:.3g}", off))
    return lines


def planned(benches: list[dict[str, Any]], index: str, assumed: Assumptions) -> list[str]:
    """Return the plan: what a shard is known to take, what is assumed, what follows."""
    content = next(c for c in reversed(benches) if index in c["indices"])
    found = plan(content, index, assumed)
    laws_found = growth(benches, index)
    lines = ["**Measured, one shard**", "", *head("what", "value")]
    lines += [
        row("vectors of a shard (the largest size measured)", power(found["measured_vectors"])),
        row("index", f"{index}, point as above, recall@k {found['measured_recall']:.3f}"),
        row("seconds to build, parts and index", f"{found['measured_build_seconds']:.0f}"),
        row("own memory of the build, GB", gigabytes(found["measured_build_memory"])),
        row(
            "bytes a vector of the index file",
            f"{found['measured_index_bytes_a_vector']:.1f} (code and a row id of {ROW_ID}, lists, "
            "centroids)",
        ),
        row("bytes a vector for exact re-ranking, float16", power(found["vector_bytes"])),
        "",
        "**Assumed, put in by hand, not measured**",
        "",
        *head("what", "value"),
    ]
    lines += [row(k.replace("_", " "), v) for k, v in dataclasses.asdict(assumed).items() if v]
    shown = (
        ("shards", power(found["shards"])),
        ("memory of all indices, GB", gigabytes(found["index_bytes"])),
        ("disk: vectors, indices, tables, GB", gigabytes(found["disk_bytes"])),
        (
            "machines, by memory / by disk",
            f"{found['machines_by_memory']} / {found['machines_by_disk']}; the larger counts",
        ),
        (
            "core hours to build, embedding of the pictures not counted",
            power(found["build_core_hours"]),
        ),
        ("hours to build on all cores", f"{found['build_hours']:.1f}"),
        ("core seconds a query of a batch, all shards", f"{found['query_core_seconds']:.3f}"),
        ("seconds a query of a batch on all cores", f"{found['query_seconds']:.4f}"),
        (
            "exact search by the fitted law, seconds a query on the bench's machine",
            f"{laws_found['exact, query of a batch, seconds'].at(assumed.total):,.0f}",
        ),
    )
    lines += ["", "**Extrapolated: a shard, times their number; nothing of this was run**", ""]
    lines += head("what", "value") + [row(*pair) for pair in shown]
    if assumed.said:
        lines += [
            row("cost of the build, $", power(found["build_cost"])),
            row("cost a month, $", power(found["monthly_cost"])),
        ]
    return lines


def written(text: str, name: str, lines: list[str]) -> str:
    """Return a page with what stands between the marks of `name` replaced."""
    marks = f"<!-- {name}: written by scripts/gallery_scale.py -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"the page has no marks {marks[0]} ... {marks[1]}")
    body = "\n".join([marks[0], "", *lines, "", marks[1]])
    return pattern.sub(lambda _: body, text)


def main() -> None:
    """Parse the command line, print the tables, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="JSON files of the bench")
    parser.add_argument("--docs", type=Path, default=None, help="page to write the tables into")
    parser.add_argument("--index", default="ivfpq")
    for field in dataclasses.fields(Assumptions):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default)
    flags = parser.parse_args()
    benches = [json.loads(path.read_text(encoding="utf-8")) for path in flags.results]
    benches.sort(key=lambda content: content["vectors_count"])
    names = [field.name for field in dataclasses.fields(Assumptions)]
    assumed = Assumptions(**{name: getattr(flags, name) for name in names})
    if (assumed.memory_price or assumed.disk_price or assumed.core_price) and not assumed.said:
        parser.error("prices need --said: where they are from, and of which date")
    tables = {
        "measured": measured(benches),
        "goals": goals(benches),
        "curve": curves(benches, flags.index),
        "growth": laws(benches, flags.index),
        "plan": planned(benches, flags.index, assumed),
    }
    for lines in tables.values():
        print("\n".join([*lines, ""]))
    if flags.docs is not None:
        text = flags.docs.read_text(encoding="utf-8")
        for name, lines in tables.items():
            text = written(text, name, lines)
        flags.docs.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
