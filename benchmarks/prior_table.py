"""The results of `mindeye bench prior` as text, with what every column means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MEANING = """\
cosine     of sample and true embedding, flattened; mean over test stimuli and start noises
d cosine   cosine less the published sampler's, [95 % bootstrap interval over stimuli]
d centred  the same after the mean training embedding is taken off sample and truth
top-1      share of samples nearest to their own truth among the test set's
spread     variance of an entry over start noises, published sampler = 1: below {spread:g} samples
           turn into point estimates, whose cosine is higher for no merit
norm       length of sample / length of truth, both less the training mean
s single   seconds a sample drawn one at a time, as the published code does (median)
s batched  seconds a sample drawn {batch} at a time
x          speed, published sampler = 1, drawn in the same way: the gain of fewer steps alone
ok         cosine same within {cosine:g} (= if the whole interval is), at least {speed:g} x as fast
           one at a time, spread at least {spread:g}: all three give yes"""


def prior_text(content: dict[str, Any]) -> str:
    """Return the tables, their legend and the verdict."""
    parts = [_heading(content), _quality(content["systems"]), _legend(content), _verdict(content)]
    if "paper_size" in content:
        parts.append(_paper_size(content["paper_size"]))
    return "\n\n".join(parts)


def _heading(content: dict[str, Any]) -> str:
    run, machine = content["run"], content["machine"]
    return (
        f"trained prior of {run['folder']}: {run['tokens']} tokens of width {run['width']}, "
        f"{run['timesteps']} timesteps\n"
        f"{run['stimuli']} test stimuli x {content['settings']['samples']} start noises; "
        f"{machine['processor']}, {machine['threads']} threads, load {machine['load']}, "
        f"torch {machine['torch']}"
    )


def _quality(rows: Sequence[dict[str, Any]]) -> str:
    head = ["sampler", "cosine", "d cosine", "d centred", "top-1", "spread", "norm"]
    head += ["s single", "x", "s batched", "x", "ok"]
    return _columns([head, *(_cells(row) for row in rows)])


def _cells(row: dict[str, Any]) -> list[str]:
    against, seconds, speed = row["against_published"], row["seconds_a_sample"], row["speed"]
    first = row["role"] == "published"
    timed = [
        cell
        for way in ("single", "batched")
        for cell in (
            f"{seconds[way]:.4f}" if way in seconds else "",
            f"{speed[way]:.1f}" if way in speed else "",
        )
    ]
    return [
        row["name"],
        f"{row['cosine']:.4f}",
        "" if first else _interval(against["cosine"]),
        "" if first else _interval(against["centred_cosine"]),
        f"{row['top1']:.3f}",
        f"{against['spread_ratio']['value']:.3f}",
        f"{row['norm']:.3f}",
        *timed,
        _ok(row),
    ]


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _ok(row: dict[str, Any]) -> str:
    """Return yes, or what a system of ours fails."""
    if row["role"] not in ("ours", "point estimate"):
        return ""
    faults = [
        word
        for word, good in (
            ("cosine", row["same_cosine"]),
            ("speed", row["fast_enough"]),
            ("spread", row["still_samples"]),
        )
        if not good
    ]
    return f"no: {', '.join(faults)}" if faults else f"yes{'=' * row['surely_same_cosine']}"


def _legend(content: dict[str, Any]) -> str:
    return MEANING.format(batch=_batch(content), **content["wanted"])


def _batch(content: dict[str, Any]) -> int:
    return min(int(content["settings"]["batch"]), int(content["run"]["stimuli"]))


def _verdict(content: dict[str, Any]) -> str:
    floor = (
        f"The mean training embedding has cosine {content['floor']['mean_embedding_cosine']:.4f}; "
        f"chance of top-1 is {content['floor']['top1_chance']:.4f}."
    )
    name = content["chosen"]
    if name is None:
        return f"{floor}\nNo few-step sampler meets all three demands here."
    row = next(row for row in content["systems"] if row["name"] == name)
    found, published = row["against_published"], content["systems"][0]
    return (
        f"{floor}\nFewest steps that meet all three demands: {name}, cosine "
        f"{_interval(found['cosine'])} from the published sampler's, spread "
        f"{found['spread_ratio']['value']:.3f} of it, {row['speed']['single']:.1f} x as fast one "
        f"at a time; in batches "
        f"{published['seconds_a_sample']['single'] / row['seconds_a_sample']['batched']:.0f} x as "
        "fast as published one at a time."
    )


def _paper_size(found: dict[str, Any]) -> str:
    size = found["size"]
    title = (
        f"{found['label']}: {size['num_tokens']} tokens of width {size['dim']}, depth "
        f"{size['depth']}, {size['heads']} heads of {size['dim_head']}; x: published one at a "
        "time = 1"
    )
    rows = [
        [row["name"], f"{row['seconds_a_sample']:.3f}", f"{row['speed']:.1f}"]
        for row in found["rows"]
    ]
    return f"{title}\n\n{_columns([['sampler', 's a sample', 'x'], *rows])}"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Align cells: the first column to the left, others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
