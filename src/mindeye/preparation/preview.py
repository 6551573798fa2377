"""The picture of a prepared subject that a person looks at first: `preview.png`.

Stimuli of both sides of the split, noise ceilings, alignment of betas and pictures, sessions, and
what the guards said. It reads sixteen pictures and the tables, never the betas; it is no part of
the subject's fingerprint, and a subject without it is as sound.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject
from mindeye.data.subject_checks import GUARDS
from mindeye.datasets.numbers import spans
from mindeye.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREVIEW = "preview.png"

CHOICES = ("test set", "training sessions")
"""Of what was chosen, what the heading names."""

SHOWN = 8
"""Stimuli of train and of test on the contact sheet."""
INK, SOFT, RULE, ACCENT, WASH = "#15191b", "#4c5559", "#dde1e2", "#00706b", "#bcdbd9"
ALARM = "#b3261e"
COLOURS = {"train": ACCENT, "val": "#8cc5c0", "test": "#d0762a", "left out": "#9aa3a6"}
CHANCE_Z = float(stats.norm.isf(0.05))
"""Below it a session is at chance, as in `mindeye.preparation.alignment.sessions_at_chance`."""
GIVEN_CEILING = "the voxel table came with its own"
"""In a subject's record where the column `noise_ceiling` is not the one from repeats."""


def write_preview(subject: Subject) -> None:
    """Draw a subject and write `preview.png` into its folder, atomically.

    The same subject gives the same bytes under one version of matplotlib: the picture bears no
    date, and the stimuli on it are drawn with a fixed seed.

    Parameters
    ----------
    subject
        Whole, or a draft whose arrays are on disk.

    Raises
    ------
    MindEyeError
        If the disk is full.
    """
    import matplotlib

    # What a user's own matplotlibrc says must not change the picture; "$" in an id is no formula.
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}
    with matplotlib.rc_context({**plain, "text.parse_math": False}):
        figure = draw_preview(subject)
        with atomic_path(subject.path / PREVIEW) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def draw_preview(subject: Subject) -> Figure:
    """Return the preview as a figure of 12 x 8 inches at 100 dpi, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    split = _split_of_trials(subject)
    _title(figure, subject)
    for name, top in (("train", 0.857), ("test", 0.478)):
        _contact_sheet(figure, subject, name, top)
    record = subject.info.get("preparation", {})
    alignment = record.get("alignment", {})
    _ceilings(_panel(figure, "noise ceiling", (0.505, 0.625, 0.195, 0.205)), subject.voxels, record)
    _lags(_panel(figure, "alignment", (0.755, 0.625, 0.23, 0.205)), alignment)
    places = _places(subject.trials["session"].to_numpy())
    agreement = _panel(figure, "agreement", (0.505, 0.405, 0.48, 0.125))
    _agreement(agreement, alignment, places)
    counts = _panel(figure, "trials", (0.505, 0.165, 0.48, 0.15))
    _trials(counts, subject.trials["session"].to_numpy(), split, places)
    _verdicts(figure, record)
    return figure


def _split_of_trials(subject: Subject) -> NDArray[np.str_]:
    """Return the split of every trial (N,); stimuli of none of the three are "left out"."""
    of = {s: name for name in SPLITS for s in subject.splits[name]}
    return np.array([of.get(s, "left out") for s in subject.trials["stimulus_id"]], dtype=np.str_)


def _title(figure: Figure, subject: Subject) -> None:
    info = subject.info
    trials, voxels = subject.betas.shape
    sessions = sorted(set(subject.trials["session"].tolist()))
    height, width = subject.pictures.shape[1:3]
    source = str(info.get("source", "source not stated"))
    if info.get("simulated") and "simulated" not in source:
        source += " (simulated)"
    counts = [f"{len(ids):,} {name}" for name, ids in subject.splits.items()]
    others = len(subject.stimuli) - sum(len(ids) for ids in subject.splits.values())
    counts += [f"{others:,} left out"] if others else []
    facts = [
        _count(trials, "trial"),
        _count(voxels, "voxel"),
        f"{_count(len(sessions), 'session')} ({_cut(_listed(sessions), 40)})",
        f"{_count(len(subject.stimuli), 'stimulus', 'stimuli')} of {width} x {height} pixels: "
        + ", ".join(counts),
    ]
    name = _cut(str(info.get("subject", subject.path.name)), 30)
    _line(figure, 0.015, 0.972, f"{name}   {_cut(source, 85)}", size=14, weight="bold")
    _line(figure, 0.015, 0.931, "    ".join(facts), size=10.5)
    chosen = info.get("preparation", {}).get("chosen", {})
    known = {"Betas": info.get("units"), **{k.capitalize(): chosen.get(k) for k in CHOICES}}
    choices = "    ".join(f"{k}: {_cut(str(v), 90)}" for k, v in known.items() if v)
    _line(figure, 0.015, 0.903, choices, size=9.5, color=SOFT)


def _contact_sheet(figure: Figure, subject: Subject, split: str, top: float) -> None:
    """Draw two rows of four stimuli of one split, chosen at random, in the table's order."""
    ids = subject.splits[split]
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(len(ids), size=min(SHOWN, len(ids)), replace=False))
    shown = [ids[i] for i in drawn]
    word = "training" if split == "train" else split
    heading = f"{len(shown)} of {len(ids):,} {word} stimuli" if ids else f"No {word} stimuli"
    figure.text(0.015, top, heading, color=INK, size=10, weight="bold", va="bottom")
    for place, stimulus_id in enumerate(shown):
        row, column = divmod(place, 4)
        frame = (0.015 + 0.112 * column, top - 0.152 - 0.171 * row, 0.104, 0.146)
        axes = figure.add_axes(frame, label=f"{split} picture {place}", anchor="NW")
        axes.imshow(subject.stimulus(stimulus_id), vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(COLOURS[split])
        axes.set_xlabel(_short(stimulus_id, 18), size=8, color=INK, labelpad=2)


def _panel(figure: Figure, name: str, frame: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(frame, label=name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(labelsize=8, colors=SOFT, length=3)
    return axes


def _head(axes: Axes, title: str, note: str = "") -> None:
    """Set a panel's heading, and below it a line in small print."""
    axes.annotate(
        title, (0, 1), (0, 17), "axes fraction", "offset points", size=10, weight="bold", color=INK
    )
    axes.annotate(note, (0, 1), (0, 5), "axes fraction", "offset points", size=8, color=SOFT)


def _empty(axes: Axes, why: str) -> None:
    """State in a panel why there is nothing in it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    # As many letters a line as the panel's width holds.
    width = int(150 * axes.get_position().width)
    lines = textwrap.fill(why, width, max_lines=6)
    axes.text(0, 0.9, lines, transform=axes.transAxes, size=9, color=SOFT, va="top")


def _ceilings(axes: Axes, voxels: pd.DataFrame, record: dict[str, Any]) -> None:
    """Draw histograms over voxels of the noise ceiling and of the one in the data's own files."""
    said = str(record.get("noise ceiling", ""))
    given = GIVEN_CEILING in said or said.startswith("not known")
    names = {
        "noise_ceiling": "given with the voxels" if given else "from repeats",
        "file_noise_ceiling": "file's own",
    }
    known = {label: _finite(voxels[name]) for name, label in names.items() if name in voxels}
    known = {label: values for label, values in known.items() if len(values)}
    _head(axes, "Noise ceiling of one trial", "share of variance that is signal")
    if not known:
        _empty(axes, said or "not known")
        return
    together = np.concatenate(list(known.values()))
    low, high = min(0.0, float(together.min())), float(together.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    heights = {label: np.histogram(values, edges)[0] for label, values in known.items()}
    highest = max(int(h.max()) for h in heights.values())
    styles = (("stepfilled", WASH, ACCENT, "-"), ("step", "none", INK, "--"))
    style_of = dict(zip(names.values(), styles, strict=True))
    for label, values in known.items():
        kind, face, colour, line = style_of[label]
        middle = float(np.median(values))
        axes.stairs(
            heights[label],
            edges,
            fill=kind == "stepfilled",
            facecolor=face,
            edgecolor=colour,
            linewidth=1.2,
            label=f"{label}: median {middle:.3f}",
        )
        axes.vlines(middle, 0, 1.05 * highest, color=colour, linestyle=line, linewidth=1.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.5 * highest)
    axes.locator_params(axis="y", integer=True)
    axes.set_ylabel("voxels", size=8, color=SOFT)
    _legend(axes, loc="upper right")


def _finite(column: pd.Series[Any]) -> NDArray[np.float32]:
    # To float32, as it was before voxels.csv: drawn again from disk, the picture is the same.
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float32)
    finite: NDArray[np.float32] = values[np.isfinite(values)]
    return finite


def _lags(axes: Axes, alignment: dict[str, Any]) -> None:
    """Draw the encoding score as betas stand, shifted, and with pictures re-dealt."""
    score = alignment.get("score")
    if score is None:
        _head(axes, "Alignment of betas and pictures")
        _empty(axes, str(alignment.get("verdict", "not made: no record of it")))
        return
    p, times = alignment["p_value"], alignment["permutations"]
    _head(
        axes,
        "Alignment of betas and pictures",
        f"r = {score:.3f}, p = {p:.2g} ({times} permutations)",
    )
    middle, spread = alignment["null_mean"], alignment["null_deviation"]
    axes.axhspan(middle - 2 * spread, middle + 2 * spread, color=RULE, label="re-dealt, ± 2 SD")
    for across, marker, offset, label in (
        (True, "o", -0.12, "shifted throughout"),
        (False, "s", 0.12, "shifted in sessions"),
    ):
        points = [
            (s["lag"], s["score"]) for s in alignment["lags"] if s["across_sessions"] is across
        ]
        xs, ys = [lag + offset for lag, _ in points], [value for _, value in points]
        face = SOFT if across else "white"
        axes.plot(xs, ys, marker, color=SOFT, markerfacecolor=face, markersize=4.5, label=label)
    axes.plot([0], [score], "D", color=ACCENT, markersize=8, label="_as they stand")
    axes.annotate(
        "as they stand", (0, score), (8, -3), textcoords="offset points", size=8, color=INK
    )
    _headroom(axes, 1.4)
    axes.set_xlabel("shift of betas against trials", size=8, color=SOFT, labelpad=1)
    axes.set_ylabel("held-out correlation r", size=8, color=SOFT)
    _legend(axes, loc="upper left", ncols=2)


def _places(sessions: NDArray[np.int64]) -> dict[int, int]:
    """Return where each session stands on an axis: at its number, so that a missing one gapes.

    Numbers too far apart for that (dates, say) stand side by side.
    """
    present = [int(s) for s in np.unique(sessions)]
    if present[-1] - present[0] < max(60, 2 * len(present)):
        return {s: s for s in present}
    return {s: i for i, s in enumerate(present)}


def _session_axis(axes: Axes, places: dict[int, int]) -> None:
    step = -(-len(places) // 20)
    marked = list(places)[::step]
    axes.set_xticks([places[s] for s in marked], [str(s) for s in marked])
    low, high = min(places.values()), max(places.values())
    # A single session is not drawn as wide as the panel.
    margin = 0.6 if high - low > 4 else 2.0
    axes.set_xlim(low - margin, high + margin)


def _agreement(axes: Axes, alignment: dict[str, Any], places: dict[int, int]) -> None:
    """Draw how far each session's betas agree with their pictures."""
    z = {int(session): float(value) for session, value in alignment.get("session_z", ())}
    z = {session: value for session, value in z.items() if session in places}
    title = "Agreement of each session's betas with its pictures"
    if not z:
        _head(axes, title)
        made = alignment.get("score") is not None
        why = "too few pictures in every session" if made else "not made, see the alignment above"
        _empty(axes, why)
        return
    note = f"z above re-dealt pairs; dashed: chance (z = {CHANCE_Z:.2f}, p = .05)"
    if untold := [session for session in places if session not in z]:
        note += f"; too few pictures in {_listed(untold)}"
    _head(axes, title, _cut(note, 92))
    places_of = [places[s] for s in z]
    colours = [ALARM if value < CHANCE_Z else ACCENT for value in z.values()]
    axes.bar(places_of, list(z.values()), width=0.8, color=colours, label="agreement")
    axes.axhline(CHANCE_Z, color=INK, linestyle="--", linewidth=0.9)
    axes.set_ylabel("z", size=8, color=SOFT)
    _session_axis(axes, places)


def _trials(
    axes: Axes, sessions: NDArray[np.int64], split: NDArray[np.str_], places: dict[int, int]
) -> None:
    """Draw the trials of each split over the sessions, as stacked bars."""
    missing = [s for s in range(min(places), max(places) + 1) if s not in places]
    if any(session != place for session, place in places.items()):
        missing = []
    _head(axes, "Trials of each split over the sessions")
    if missing:
        note = _cut(f"none in session {_listed(missing)}", 40)
        place: Any = {"xytext": (0, 17), "textcoords": "offset points", "ha": "right"}
        axes.annotate(note, (1, 1), xycoords="axes fraction", size=8, color=SOFT, **place)
    numbers = list(places)
    below = np.zeros(len(numbers), dtype=np.int64)
    for name, colour in COLOURS.items():
        heights = np.array([((sessions == s) & (split == name)).sum() for s in numbers])
        if not heights.sum():
            continue
        axes.bar(
            [places[s] for s in numbers],
            heights,
            width=0.8,
            bottom=below,
            color=colour,
            label=f"{name}: {heights.sum():,}",
        )
        below = below + heights
    axes.locator_params(axis="y", integer=True)
    axes.set_ylabel("trials", size=8, color=SOFT)
    axes.set_xlabel("session", size=8, color=SOFT, labelpad=1)
    _session_axis(axes, places)
    _legend(axes, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=4, frameon=False, borderpad=0)


def _verdicts(figure: Figure, record: dict[str, Any]) -> None:
    """Write what each guard said, side by side."""
    for column, name in enumerate(GUARDS):
        said = record.get(name, "not on record")
        verdict = str(said.get("verdict", "not on record") if isinstance(said, dict) else said)
        left = 0.015 + 0.197 * column
        lines = textwrap.fill(_printable(verdict), 34, max_lines=4, placeholder=" ...")
        figure.text(left, 0.095, name.capitalize(), size=9, color=INK, weight="bold", va="top")
        figure.text(left, 0.075, lines, size=8.5, color=SOFT, va="top")


def _legend(axes: Axes, **where: Any) -> None:
    style = {"fontsize": 8, "labelcolor": INK, "edgecolor": RULE, "fancybox": False}
    room = {"borderaxespad": 0, "handlelength": 1, "columnspacing": 1.2, "framealpha": 1}
    axes.legend(**{**style, **room, **where})


def _headroom(axes: Axes, factor: float) -> None:
    """Leave room for the legend above what is drawn."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + factor * (high - low))


def _line(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write a line; what does not fit into the figure's width is cut off."""
    line = figure.text(left, top, text, va="top", **{"color": INK, **style})
    room = figure.bbox.width * (0.985 - left)
    while (width := line.get_window_extent().width) > room:
        text = _cut(text, min(len(text) - 1, int(len(text) * room / width)))
        line.set_text(text)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _listed(sessions: Sequence[int]) -> str:
    return spans(sessions).replace(",", ", ")


def _printable(text: str) -> str:
    """Replace what the figure's font cannot draw: all but European letters and punctuation."""
    return "".join(
        c if c.isprintable() and (ord(c) < 0x500 or 0x2010 <= ord(c) < 0x2070) else "?"
        for c in text
    )


def _cut(text: str, most: int) -> str:
    text = _printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _short(text: str, most: int) -> str:
    """Return a text of at most so many letters, its middle left out: ids differ at both ends."""
    text = _printable(text)
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[-half:]}"
