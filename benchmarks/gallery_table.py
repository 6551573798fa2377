"""A bench of galleries as text for people."""

from __future__ import annotations

from typing import Any

GB = 1e9


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    return "\n".join([*_head(content), *_indices(content), *_ways(content), *_verdict(content)])


def _head(content: dict[str, Any]) -> list[str]:
    place, made, parts = content["machine"], content["vectors"], content["gallery"]
    exact = content["exact"]
    near = made["geometry"]
    return [
        f"{content['queries']} queries, k {content['k']}, {parts['bytes'] / GB:.2f} GB of vectors "
        f"of width {content['width']}; {place['threads']} threads, load {place['load']}; synthetic "
        f"(two have a cosine of {near['cosine_of_two']:.2f}, a query and its {content['k']}th "
        f"neighbour {exact['cosine_of_the_last']:.2f})",
        f"vectors drawn in {made['seconds']:.0f} s, gallery built in {parts['seconds']:.0f} s"
        f"{' (gone on with)' if parts['resumed'] else ''}, peak memory "
        f"{parts['peak_anonymous'] / GB:.2f} GB of its own, {parts['peak_resident'] / GB:.2f} GB "
        f"with mapped pages; exact pass over {exact['queries']} queries {exact['seconds']:.1f} s",
        "",
    ]


def _indices(content: dict[str, Any]) -> list[str]:
    lines = [
        f"{'index':<8}{'build s':>9}{'own GB':>8}{'peak GB':>9}{'disk GB':>9}{'recall':>8}"
        f"{'x exact':>9}{'x (one)':>9}{'overhead':>10}{'one: own':>10}{'total':>7}"
        f"{'batch: own':>12}{'total':>7}   point"
    ]
    for index, one in content["indices"].items():
        built, memory, point = one["build"], one["memory"], one["point"]
        single = one["speed_up"].get("single")
        told = ", ".join(f"{k} {v}" for k, v in point.items() if not k.startswith("tuning_"))
        lines.append(
            f"{index:<8}{built['seconds']:>9.1f}{built['peak_anonymous'] / GB:>8.2f}"
            f"{built['peak_resident'] / GB:>9.2f}{built['bytes'] / GB:>9.3f}{one['recall']:>8.3f}"
            f"{one['speed_up']['batch']:>9.1f}{'-' if single is None else f'{single:.1f}':>9}"
            f"{one['overhead']['single']:>10.1%}"
            + "".join(
                f"{memory[f'{how}_{kind}_share']:>{width}.0%}"
                for how, kind, width in (
                    ("one", "anonymous", 10),
                    ("one", "resident", 7),
                    ("batch", "anonymous", 12),
                    ("batch", "resident", 7),
                )
            )
            + f"   {told or '-'}"
        )
    return [*lines, "memory of a search is a share of the vectors' bytes", ""]


def _ways(content: dict[str, Any]) -> list[str]:
    lines = [f"{'in turns':<22}{'recall':>8}{'one ms':>9}{'95 %':>9}{'queries/s':>11}"]
    for name, way in content["ways"].items():
        lines.append(
            f"{name:<22}{way['recall']:>8.3f}{way['single_median'] * 1e3:>9.2f}"
            f"{way['single_95'] * 1e3:>9.2f}{way['queries_per_second']:>11.0f}"
        )
    return [
        *lines,
        "ours: with exact re-ranking where the point says so; plain: neither side re-ranks; faiss "
        "re-ranks by IndexRefine over float16 vectors in memory",
        "",
    ]


def _verdict(content: dict[str, Any]) -> list[str]:
    return [
        f"the point of an index is {content['rule']}; it was chosen on other queries than these",
        *(f"{name}: {text}" for name, text in verdict(content).items()),
    ]


def verdict(content: dict[str, Any]) -> dict[str, str]:
    """Return every goal -> whether it is met, with the numbers; IVF-PQ where it is there."""
    if "ivfpq" not in content["indices"]:
        return {}
    one, goals = content["indices"]["ivfpq"], content["goals"]
    speed, share = one["speed_up"], one["memory"]["one_anonymous_share"]
    single = f", {speed['single']:.1f} one by one" if "single" in speed else ""
    met = {
        "overhead": one["overhead"]["single"] <= goals["overhead"],
        "recall": one["recall"] >= goals["recall"],
        "speed-up": speed["batch"] >= goals["speed_up"],
        "memory": share <= goals["memory_share"],
    }
    told = {
        "overhead": f"{one['overhead']['single']:.1%} one by one, {one['overhead']['batch']:.1%} "
        f"in a batch (goal {goals['overhead']:.0%})",
        "recall": f"{one['recall']:.3f} (goal {goals['recall']})",
        "speed-up": f"{speed['batch']:.1f} in a batch{single} (goal {goals['speed_up']:.0f})",
        "memory": f"{share:.1%} of the vectors' size, one search, own memory (goal "
        f"{goals['memory_share']:.0%})",
    }
    return {name: f"{'met' if met[name] else 'NOT met'}, {told[name]}" for name in told}
