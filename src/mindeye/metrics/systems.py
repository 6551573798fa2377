"""What a system is, and the dict of all systems: decoders and what they are held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["decoder", "baseline", "reference", "ceiling"]


@dataclass(frozen=True)
class Reference:
    """How a system stands beside the rows of others.

    Parameters
    ----------
    name
        Column of the table; empty if the table has none and only the page marks it.
    letter
        Letter of its mark in figures.
    label, short
        Name of the reference in legends, and above a narrow column.
    is_floor
        Whether it bounds scores from below, otherwise from above.
    """

    name: str
    letter: str
    label: str
    short: str
    is_floor: bool


@dataclass(frozen=True)
class System:
    """Something whose answers are scored.

    Parameters
    ----------
    name
        Name in tables and of files.
    role
        A ``decoder`` is the run's own, a ``baseline`` decodes by simpler means, a ``reference``
        answers without decoding, a ``ceiling`` knows what no decoder can know.
    label
        Name for people.
    is_main
        Whether the run is about it: it has the accent colour.
    headline
        Place of its warnings under the page's headline, from 1; 0 for none.
    preference
        Place among systems of which a figure shows one, from 1; 0 is shown where no other is.
    on_page
        Whether the page has a column of its pictures.
    controls
        Controls that look at it: ``all`` (it is split by nearness to training and held against
        the lookup), ``floor`` (only against shuffled pairs) or ``none``.
    noise
        Stream of noise that its pictures are drawn from; 1 is that of the candidates of which the
        run picks one, 0 where nothing is drawn at random.
    ceilings
        Systems that its pictures cannot be expected to pass; the first that was drawn is used.
    reference
        How it stands beside the rows of others; None where it does not.
    """

    name: str
    role: Role
    label: str
    is_main: bool = False
    headline: int = 0
    preference: int = 0
    on_page: bool = False
    controls: Literal["none", "floor", "all"] = "none"
    noise: int = 0
    ceilings: tuple[str, ...] = ()
    reference: Reference | None = None

    @property
    def decodes(self) -> bool:
        """Whether it answers from brain activity: a decoder or a baseline."""
        return self.role in ("decoder", "baseline")


SYSTEMS: dict[str, System] = {
    one.name: one
    for one in (
        System("seen", "reference", "Seen"),
        System(
            "mindeye", "decoder", "MindEye", is_main=True, headline=1, preference=1, controls="all"
        ),
        System("mindeye_backbone", "decoder", "Backbone only", preference=5, controls="floor"),
        System(
            "low", "decoder", "Low level", preference=4, on_page=True, controls="all",
            ceilings=("ceiling_vae",),
        ),
        System(
            "high", "decoder", "High level", headline=3, preference=3, on_page=True,
            controls="all", noise=1, ceilings=("ceiling_generator",),
        ),
        System(
            "both", "decoder", "Both", is_main=True, headline=2, preference=2, on_page=True,
            controls="all", noise=1, ceilings=("ceiling_both",),
        ),
        System(
            "both_unblended", "decoder", "Both, not blended", noise=1, ceilings=("ceiling_both",)
        ),
        # Ridge draws as the run does: by the generator from a start, without one, or by the
        # autoencoder.
        System(
            "ridge", "baseline", "Ridge", preference=6, on_page=True, controls="all", noise=3,
            ceilings=("ceiling_both", "ceiling_generator", "ceiling_vae"),
        ),
        System("ridge_centred", "baseline", "Ridge, centred", controls="floor"),
        System(
            "ridge_latents", "baseline", "Ridge, latents", controls="floor", noise=5,
            ceilings=("ceiling_both", "ceiling_vae"),
        ),
        System("ridge_restored", "baseline", "Ridge, restored"),
        System("knn", "baseline", "Neighbours", preference=7, controls="floor"),
        System("knn_centred", "baseline", "Neighbours, centred", controls="floor"),
        System(
            "mean_picture", "reference", "Mean training picture", controls="floor",
            reference=Reference("", "M", "mean of the training pictures", "mean", True),
        ),
        System(
            "random_training", "reference", "Random training picture",
            reference=Reference(
                "random_training", "R", "random training picture", "random", True
            ),
        ),
        System("nearest_training", "reference", "Nearest training picture"),
        System(
            "nearest_training_true", "reference", "Training picture nearest to seen",
            reference=Reference(
                "nearest_training_true", "S", "training picture nearest to the one seen",
                "nearest to seen", True,
            ),
        ),
        System(
            "nearest_training_predicted", "reference", "Training picture nearest to decoded",
            reference=Reference(
                "nearest_training_predicted", "D",
                "lookup: training picture nearest to what was decoded", "nearest to decoded", True,
            ),
        ),
        System(
            "ceiling_both", "ceiling", "Ceiling of both", preference=10, noise=4
        ),
        System(
            "ceiling_generator", "ceiling", "Generator ceiling", preference=11, on_page=True,
            noise=2,
            reference=Reference(
                "generator_from_truth", "G", "generator fed with the true embedding",
                "generator from truth", False,
            ),
        ),
        System("ceiling_vae", "ceiling", "Autoencoder ceiling", preference=12),
        System(
            "noise_ceiling", "ceiling", "Noise ceiling", preference=9,
            reference=Reference(
                "noise_ceiling", "N",
                "noise ceiling: half of the trials looks up the other half", "noise ceiling",
                False,
            ),
        ),
        System(
            "ideal_observer", "ceiling", "Ideal observer", preference=8,
            reference=Reference(
                "ideal_observer", "I", "ideal observer: knows how the brain was simulated",
                "ideal observer", False,
            ),
        ),
    )
}  # fmt: skip
"""All systems by name, in the order in which lists show them."""

LOOKUP = "nearest_training_predicted"
"""System that every decoder must beat: it shows the training picture nearest to what it decoded."""


def system(name: str) -> System:
    """Return a system by name; one that is not known is a decoder under its own name.

    Examples
    --------
    >>> system("my_decoder").label
    'My decoder'
    """
    known = SYSTEMS.get(name)
    return known or System(name, "decoder", name.replace("_", " ").capitalize())


def system_order(name: str) -> int:
    """Return the place of a system in lists: as in `SYSTEMS`, unknown ones last."""
    known = list(SYSTEMS)
    return known.index(name) if name in known else len(known)


def preferred_system(names: Iterable[str]) -> str:
    """Return the system that a figure shows of several; the first where none has a preference.

    Examples
    --------
    >>> preferred_system(["knn", "ridge", "both"])
    'both'
    """
    names = list(names)
    ranked = [name for name in names if system(name).preference]
    if ranked:
        return min(ranked, key=lambda name: system(name).preference)
    return names[0] if names else ""


def references() -> dict[str, System]:
    """Return the systems that have a column in the table, by the name of the column."""
    return {
        one.reference.name: one
        for one in SYSTEMS.values()
        if one.reference is not None and one.reference.name
    }


def marked_references() -> dict[str, Reference]:
    """Return all that can stand beside a row, floors first, by column or, without one, system."""
    marked = [
        (one.reference.name or one.name, one.reference)
        for one in SYSTEMS.values()
        if one.reference is not None
    ]
    return dict(sorted(marked, key=lambda pair: not pair[1].is_floor))


def reference_name(name: str) -> str:
    """Return the name under which a system stands beside others; empty where it does not."""
    own = system(name).reference
    return "" if own is None else own.name or name
