"""The picture of a prepared subject that a person looks at first: `preview.png`.

Stimuli of both sides of the split, noise ceilings, alignment of betas and pictures, sessions, and
what the guards found. It reads sixteen pictures and the tables, never the betas; it is no part of
the subject's fingerprint, and a subject without it is as sound.
"""

from __future__ import annotations

import textwrap
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
    from matplotlib.gridspec import SubplotSpec

PREVIEW = "preview.png"

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
        A whole subject, or a draft whose arrays are on disk.

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
    record = subject.info.get("preparation", {})
    rows = figure.add_gridspec(
        3, 1, left=0.015, right=0.98, top=0.98, bottom=0.01, height_ratios=(9, 74, 13), hspace=0.17
    )
    _title(figure.add_subplot(rows[0]), subject)
    body = rows[1].subgridspec(1, 2, width_ratios=(45, 50), wspace=0.11)
    sheets = body[0].subgridspec(2, 1, hspace=0.22)
    for row, split in enumerate(("train", "test")):
        _contact_sheet(figure, sheets[row], subject, split)
    panels = body[1].subgridspec(3, 2, height_ratios=(20, 13, 15), hspace=0.85, wspace=0.3)
    _ceilings(_panel(figure, panels[0, 0], "noise ceiling"), subject.voxels, record)
    alignment = record.get("alignment", {})
    _lags(_panel(figure, panels[0, 1], "alignment"), alignment)
    sessions = subject.trials["session"].to_numpy()
    _agreement(_panel(figure, panels[1, :], "agreement"), alignment, np.unique(sessions))
    _trials(_panel(figure, panels[2, :], "trials"), sessions, _split_of_trials(subject))
    columns = rows[2].subgridspec(1, len(GUARDS))
    for column, name in enumerate(GUARDS):
        _verdict(figure.add_subplot(columns[column]), name, record.get(name, "not on record"))
    return figure


def _split_of_trials(subject: Subject) -> NDArray[np.str_]:
    """Return the split of every trial (N,); stimuli of none of the three are "left out"."""
    of = {s: name for name in SPLITS for s in subject.splits[name]}
    return np.array([of.get(s, "left out") for s in subject.trials["stimulus_id"]], dtype=np.str_)


def _title(axes: Axes, subject: Subject) -> None:
    """Write who this is, how much there is of it, and what was chosen."""
    info = subject.info
    source = str(info.get("source", "source not stated"))
    if info.get("simulated") and "simulated" not in source:
        source += " (simulated)"
    sessions = sorted(set(subject.trials["session"].tolist()))
    height, width = subject.pictures.shape[1:3]
    counts = {name: len(ids) for name, ids in subject.splits.items()}
    counts["left out"] = len(subject.stimuli) - sum(counts.values())
    facts = [
        *(_count(n, word) for n, word in zip(subject.betas.shape, ("trial", "voxel"), strict=True)),
        f"{_count(len(sessions), 'session')} ({_cut(_spans(sessions), 40)})",
        f"{len(subject.stimuli):,} stimuli of {width} x {height} pixels: "
        + ", ".join(f"{n:,} {name}" for name, n in counts.items() if n or name != "left out"),
    ]
    chosen = info.get("preparation", {}).get("chosen", {})
    choices = {
        "Betas": info.get("units"),
        "Test set": chosen.get("test set"),
        "Training sessions": chosen.get("training sessions"),
    }
    heading = f"{_cut(str(info.get('subject', subject.path.name)), 25)}   {_cut(source, 50)}"
    line = "    ".join(
        f"{name}: {_cut(str(value), 75)}" for name, value in choices.items() if value
    )
    axes.axis("off")
    axes.text(0, 1, heading, size=14, weight="bold", color=INK, va="top")
    axes.text(0, 0.55, _cut("    ".join(facts), 140), size=10, color=INK, va="top")
    axes.text(0, 0.2, _cut(line, 140), size=9.5, color=SOFT, va="top")


def _contact_sheet(figure: Figure, place: SubplotSpec, subject: Subject, split: str) -> None:
    """Draw two rows of four stimuli of one split, chosen at random, in the table's order."""
    ids = subject.splits[split]
    rng = np.random.default_rng(0)
    shown = np.sort(rng.choice(len(ids), size=min(SHOWN, len(ids)), replace=False))
    word = "training" if split == "train" else split
    heading = f"{len(shown)} of {len(ids):,} {word} stimuli" if ids else f"No {word} stimuli"
    frame = figure.add_subplot(place, label=f"{split} stimuli")
    frame.axis("off")
    frame.text(0, 1.02, heading, color=INK, size=10, weight="bold", va="bottom")
    cells = place.subgridspec(2, 4, hspace=0.2, wspace=0.08)
    for cell, number in enumerate(shown):
        axes = figure.add_subplot(cells[cell], label=f"{split} picture {ids[number]}", anchor="NW")
        axes.imshow(subject.stimulus(ids[number]), vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(COLOURS[split])
        axes.set_xlabel(_short(ids[number], 18), size=8, color=INK, labelpad=2)


def _panel(figure: Figure, place: SubplotSpec, name: str) -> Axes:
    axes = figure.add_subplot(place, label=name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(labelsize=8, colors=SOFT, length=3)
    return axes


def _head(axes: Axes, title: str, note: str = "") -> None:
    """Set a panel's heading, and below it a line in small print."""
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, (0, 1), (0, 17), size=10, weight="bold", color=INK, **style)
    axes.annotate(note, (0, 1), (0, 5), size=8, color=SOFT, **style)


def _empty(axes: Axes, why: str) -> None:
    """State in a panel why there is nothing in it."""
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    # As many letters a line as the panel's width holds.
    lines = textwrap.fill(why, int(150 * axes.get_position().width), max_lines=5)
    axes.text(0, 0.9, lines, transform=axes.transAxes, size=9, color=SOFT, va="top")


def _ceilings(axes: Axes, voxels: pd.DataFrame, record: dict[str, Any]) -> None:
    """Draw histograms over voxels of the noise ceiling and of the one in the data's own files."""
    verdict = str(record.get("noise ceiling", ""))
    given = GIVEN_CEILING in verdict or verdict.startswith("not known")
    _head(axes, "Noise ceiling of one trial", "share of variance that is signal")
    columns = {
        "given with the voxels" if given else "from repeats": "noise_ceiling",
        "file's own": "file_noise_ceiling",
    }
    known = {label: _finite(voxels[name]) for label, name in columns.items() if name in voxels}
    known = {label: values for label, values in known.items() if len(values)}
    if not known:
        _empty(axes, verdict or "not known")
        return
    together = np.concatenate(list(known.values()))
    low, high = min(0.0, float(together.min())), float(together.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    for label, values in known.items():
        own = label == "file's own"
        middle = float(np.median(values))
        axes.stairs(
            np.histogram(values, edges)[0],
            edges,
            fill=not own,
            facecolor="none" if own else WASH,
            edgecolor=INK if own else ACCENT,
            linewidth=1.2,
            label=f"{label}: median {middle:.3f}",
        )
        axes.axvline(middle, color=INK if own else ACCENT, linestyle="--" if own else "-")
    axes.margins(x=0)
    _headroom(axes)
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
    title, score = "Alignment of betas and pictures", alignment.get("score")
    if score is None:
        _head(axes, title)
        _empty(axes, str(alignment.get("verdict", "not made: no record of it")))
        return
    p, times = alignment["p_value"], alignment["permutations"]
    _head(axes, title, f"r = {score:.3f}, p = {p:.2g} ({times} permutations)")
    middle, spread = alignment["null_mean"], alignment["null_deviation"]
    axes.axhspan(middle - 2 * spread, middle + 2 * spread, color=RULE, label="re-dealt, ± 2 SD")
    for across, marker, label in (
        (True, "o", "shifted throughout"),
        (False, "s", "shifted in sessions"),
    ):
        shifts = [s for s in alignment["lags"] if s["across_sessions"] is across]
        xs, ys = [s["lag"] for s in shifts], [s["score"] for s in shifts]
        face = SOFT if across else "white"
        axes.plot(xs, ys, marker, color=SOFT, markerfacecolor=face, markersize=4.5, label=label)
    axes.plot([0], [score], "D", color=ACCENT, markersize=8, label="_as they stand")
    axes.annotate("as they stand", (0, score), (8, -3), textcoords="offset points", size=8)
    _headroom(axes)
    axes.set_xlabel("shift of betas against trials", size=8, color=SOFT, labelpad=1)
    axes.set_ylabel("held-out correlation r", size=8, color=SOFT)
    _legend(axes, loc="upper left", ncols=2)


def _session_axis(axes: Axes, sessions: NDArray[np.int64]) -> None:
    """Name at most twenty of the sessions, which stand side by side."""
    marked = np.arange(0, len(sessions), -(-len(sessions) // 20))
    axes.set_xticks(marked, [str(s) for s in sessions[marked]])
    # Few sessions are not drawn as wide as the panel.
    axes.set_xlim(-0.6, max(len(sessions), 5) - 0.4)


def _agreement(axes: Axes, alignment: dict[str, Any], sessions: NDArray[np.int64]) -> None:
    """Draw how far each session's betas agree with their pictures."""
    z = {int(session): float(value) for session, value in alignment.get("session_z", ())}
    title = "Agreement of each session's betas with its pictures"
    if not z:
        made = alignment.get("score") is not None
        _head(axes, title)
        _empty(axes, "too few pictures in every session" if made else "not made, see above")
        return
    note = f"z above re-dealt pairs; dashed: chance (z = {CHANCE_Z:.2f}, p = .05)"
    if unknown := [int(s) for s in sessions if int(s) not in z]:
        note += f"; too few pictures in {_spans(unknown)}"
    _head(axes, title, _cut(note, 92))
    places = [i for i, s in enumerate(sessions) if int(s) in z]
    values = [z[int(sessions[i])] for i in places]
    colours = [ALARM if value < CHANCE_Z else ACCENT for value in values]
    axes.bar(places, values, width=0.8, color=colours, label="agreement")
    axes.axhline(CHANCE_Z, color=INK, linestyle="--", linewidth=0.9)
    axes.set_ylabel("z", size=8, color=SOFT)
    _session_axis(axes, sessions)


def _trials(axes: Axes, session: NDArray[np.int64], split: NDArray[np.str_]) -> None:
    """Draw the trials of each split over the sessions, as stacked bars."""
    known = np.unique(session)
    title = "Trials of each split over the sessions"
    if 0 < known[-1] - known[0] + 1 - len(known) <= len(known):
        missing = sorted(set(range(known[0], known[-1])) - set(known.tolist()))
        title += f" (none in session {_cut(_spans(missing), 30)})"
    _head(axes, title)
    below = np.zeros(len(known), dtype=np.int64)
    for name, colour in COLOURS.items():
        heights = np.array([((session == s) & (split == name)).sum() for s in known])
        if heights.any():
            label = f"{name}: {heights.sum():,}"
            places = np.arange(len(known))
            axes.bar(places, heights, width=0.8, bottom=below, color=colour, label=label)
            below += heights
    axes.locator_params(axis="y", integer=True)
    axes.set_ylabel("trials", size=8, color=SOFT)
    axes.set_xlabel("session", size=8, color=SOFT, labelpad=1)
    _session_axis(axes, known)
    _legend(axes, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=4, frameon=False, borderpad=0)


def _verdict(axes: Axes, name: str, found: Any) -> None:
    """Write what a guard found."""
    verdict = found.get("verdict", "not on record") if isinstance(found, dict) else found
    lines = textwrap.fill(_printable(str(verdict)), 34, max_lines=4, placeholder=" ...")
    axes.axis("off")
    axes.text(0, 0.85, name.capitalize(), size=9, color=INK, weight="bold", va="top")
    axes.text(0, 0.65, lines, size=8, color=SOFT, va="top")


def _headroom(axes: Axes) -> None:
    """Leave room for the legend above what is drawn."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, low + 1.5 * (high - low))


def _legend(axes: Axes, **where: Any) -> None:
    style = {"fontsize": 7.5, "labelcolor": INK, "edgecolor": RULE, "fancybox": False}
    room = {"borderaxespad": 0, "handlelength": 1, "columnspacing": 1, "framealpha": 1}
    axes.legend(**{**style, **room, **where})


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _spans(sessions: list[int]) -> str:
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
    text, half = _printable(text), (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"
