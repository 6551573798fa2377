"""What a preset takes in memory, and what to switch on so that it fits a device."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mindeye.config import HighConfig, LowConfig, OptimConfig, RunConfig
from mindeye.errors import ConfigError
from mindeye.models.sizes import Sizes
from mindeye.planning.footprint import Footprint
from mindeye.planning.steps import footprint_of, parameter_count
from mindeye.progress import track

GB = 1e9
RESERVE = 0.05
"""Share of a device left to the driver, to fragments and to what libraries allocate themselves."""

_UNITS = {"GB": 1e9, "GIB": 2**30, "MB": 1e6, "MIB": 2**20}


def parse_memory(text: str) -> float:
    """Return the bytes of a size like ``24GB``, ``24GiB`` or ``800MB``.

    Raises
    ------
    ConfigError
        If it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B)\s*", text, re.IGNORECASE)
    unit = match[2].upper() if match else ""
    if match is None or unit not in _UNITS or float(match[1]) <= 0:
        raise ConfigError(f"{text!r} is not a size of memory; write it like 24GB or 24GiB")
    return float(match[1]) * _UNITS[unit]


@dataclass(frozen=True)
class MemoryOption:
    """One way to train with less memory.

    Parameters
    ----------
    field
        Dotted field within the pipeline, as in ``optim.recompute``.
    value
        Value that the field is set to.
    cost
        What is paid for it.
    """

    field: str
    value: Any
    cost: str


def memory_options(optim: OptimConfig) -> list[MemoryOption]:
    """Return what can be switched on, the cheapest first; each stays on when the next comes."""
    micro = max(optim.batch_size // 4, 1)
    return [
        MemoryOption("optim.precision", "bf16", "none known"),
        MemoryOption("optim.recompute", True, "about a quarter more time"),
        MemoryOption("optim.micro_batch", micro, "a second forward pass; the same gradient"),
        MemoryOption("optim.optimizer", "adafactor", "another optimiser, without first moments"),
        MemoryOption("optim.micro_batch", 1, "slow: one stimulus at a time"),
        MemoryOption("decoder.head", "shared", "another, smaller network"),
    ]


@dataclass(frozen=True)
class Line:
    """A configuration of a pipeline and what it takes.

    Parameters
    ----------
    words
        ``field=value`` words switched on so far, empty for the configuration as it is.
    cost
        What the last of them costs.
    footprint
        Footprint of a training step.
    """

    words: tuple[str, ...]
    cost: str
    footprint: Footprint


@dataclass(frozen=True)
class Plan:
    """What a pipeline takes and how to make it fit.

    Parameters
    ----------
    name
        ``high`` or ``low``.
    parameters
        Trained values.
    lines
        The configuration as it is, then with more and more switched on, up to the first that fits.
    limit
        Bytes of the device, None if no device was named.
    """

    name: str
    parameters: int
    lines: list[Line]
    limit: float | None

    def fits(self, line: Line) -> bool:
        """Return whether a line fits the device, with some reserve."""
        return self.limit is None or line.footprint.peak <= self.limit * (1 - RESERVE)


def make_plans(config: RunConfig, sizes: Sizes, limit: float | None) -> list[Plan]:
    """Plan every pipeline that a run trains.

    Parameters
    ----------
    config
        Configuration of the run.
    sizes
        Sizes of the data.
    limit
        Bytes of the device, or None to tell what the configuration takes and no more.
    """
    plans = []
    if config.high_enabled and not config.high.weights:
        plans.append(_plan("high", config.high, sizes, limit))
    if config.low_enabled and not config.low.weights:
        plans.append(_plan("low", config.low, sizes, limit))
    return plans


def _plan(name: str, config: HighConfig | LowConfig, sizes: Sizes, limit: float | None) -> Plan:
    plan = Plan(name, parameter_count(sizes, config), [], limit)
    plan.lines.append(Line((), "", footprint_of(sizes, config)))
    words: dict[str, str] = {}
    for option in track(memory_options(config.optim) if limit is not None else [], f"plan {name}"):
        changed = _changed(config, option)
        if plan.fits(plan.lines[-1]) or changed is None or changed == config:
            continue
        footprint = footprint_of(sizes, changed)
        if footprint.peak >= plan.lines[-1].footprint.peak:
            continue  # such as micro-batches, which add gradients up, where gradients are the peak
        config = changed
        words[option.field] = f"{name}.{option.field}={str(option.value).lower()}"
        plan.lines.append(Line(tuple(words.values()), option.cost, footprint))
    return plan


def _changed(config: HighConfig | LowConfig, option: MemoryOption) -> HighConfig | LowConfig | None:
    """Return the configuration with an option taken, None where the pipeline has no such field."""
    part, field = option.field.split(".")
    if not hasattr(config, part):
        return None
    return replace(config, **{part: replace(getattr(config, part), **{field: option.value})})


def table(plans: list[Plan], sizes: Sizes) -> str:
    """Return the plans as text for people."""
    text = [
        f"{sizes.voxels} voxels, {sizes.tokens} x {sizes.width} tokens, latents {sizes.latents}; "
        "GB of 10^9 bytes",
        "",
    ]
    columns: list[tuple[str, Callable[[Footprint], int]]] = [
        ("parameters", lambda f: f.largest.parameters),
        ("gradients", lambda f: f.largest.gradients),
        ("optimiser", lambda f: f.largest.optimizer),
        ("activations", lambda f: f.largest.activations),
        ("peak", lambda f: f.peak),
    ]
    for plan in plans:
        text.append(f"{plan.name}: {plan.parameters / 1e6:.1f} M parameters")
        text.append("  " + "".join(f"{name:>12}" for name, _ in columns) + "  peak is in")
        for line in plan.lines:
            cells = "".join(f"{pick(line.footprint) / GB:12.2f}" for _, pick in columns)
            verdict = "" if plan.limit is None else ("  fits" if plan.fits(line) else "  too much")
            what = line.words[-1] if line.words else "as configured"
            text.append(f"  {cells}  {line.footprint.peak_phase:<10}{verdict:<10}  {what}")
            if line.cost:
                text[-1] += f" ({line.cost})"
        last = plan.lines[-1]
        if plan.limit is not None and plan.fits(last):
            text.append(
                f"  add: {' '.join(last.words)}" if last.words else "  fits as it is configured"
            )
        elif plan.limit is not None:
            text.append(
                "  nothing here makes it fit; take a smaller batch_size or decoder.width, or a "
                "larger device"
            )
        text.append("")
    text.append(
        "Counted on a step without data: what torch asks its allocator for. Columns are the most "
        f"of each kind; they do not all happen at once. A device is taken to have {RESERVE:.0%} "
        "less than its name says. On a CPU the process holds up to 30 % more (freed blocks, "
        "libraries)."
    )
    return "\n".join(text)


def plan_content(plans: list[Plan]) -> list[dict[str, Any]]:
    """Return the plans for a JSON file; bytes."""
    return [
        {
            "pipeline": plan.name,
            "parameters": plan.parameters,
            "device_memory": plan.limit,
            "lines": [
                {
                    "fields": list(line.words),
                    "fits": plan.fits(line) if plan.limit is not None else None,
                    "peak": line.footprint.peak,
                    "peak_phase": line.footprint.peak_phase,
                    "largest": vars(line.footprint.largest),
                }
                for line in plan.lines
            ],
        }
        for plan in plans
    ]
