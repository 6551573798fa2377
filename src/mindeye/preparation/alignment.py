"""Alignment self-test: betas must belong to the pictures that the trial table pairs them with.

Simple picture features predict betas of pictures that the fit never saw; the score is compared
with that of pictures dealt at random, and with that of betas shifted by a few trials.

It sees shuffled or shifted trial tables, a picture file in another order, and a session file that
was swapped or shifted. It cannot see a fault that keeps pictures alike together (neighbouring
trials that show the same picture), one that touches a few trials only, or one in a subject whose
betas hold no trace of simple features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mindeye.arrays import row_blocks
from mindeye.errors import DataError
from mindeye.preparation.alignment_sample import (
    Sample,
    draw_pictures,
    mean_by_picture,
    sources,
)
from mindeye.preparation.encoding_score import EncodingModel, p_value, pair_z
from mindeye.preparation.picture_features import layout_features, principal_components

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

MOST_TRIALS = 1000
FEWEST_IN_SESSION = 10
SESSION_PERMUTATIONS = 199
CLEAR_LAG = 4.0
"""Deviations above chance that a shift must reach to be named ..."""
BETTER_LAG = 3.0
"""... and deviations by which it must beat no shift."""
CLEAR_SESSION = 6.0
"""Expected z from which a session at chance is taken for a fault."""


@dataclass(frozen=True)
class AlignmentConfig:
    """How the alignment self-test is made.

    Parameters
    ----------
    stimuli
        Stimuli looked at, at most; drawn at random.
    voxels
        Voxels looked at, at most: those most alike across repeats, at random without repeats.
    fewest_pictures
        Fewest distinct pictures that the test applies to.
    permutations
        Times the pictures are dealt anew.
    significance
        Largest p-value that passes.
    lags
        Shifts tried, in trials, both ways.
    components
        Principal components of the picture features, at most.
    ridge
        Penalty, as a multiple of the number of training pictures.
    folds
        Folds of pictures.
    """

    stimuli: int = 2000
    voxels: int = 1000
    fewest_pictures: int = 20
    permutations: int = 199
    significance: float = 0.01
    lags: int = 3
    components: int = 50
    ridge: float = 1.0
    folds: int = 10


@dataclass(frozen=True)
class LagScore:
    """Score of betas shifted against the trial table.

    Parameters
    ----------
    lag
        The trial table's row t is paired with the betas of row t + lag.
    across_sessions
        Whether the shift runs through the whole experiment or starts anew in each session.
    score
        Mean held-out correlation.
    """

    lag: int
    across_sessions: bool
    score: float


@dataclass(frozen=True)
class Alignment:
    """Outcome of the alignment self-test.

    Parameters
    ----------
    ok
        Whether nothing speaks against the pairing.
    verdict
        One line for people.
    score, p_value
        Mean held-out correlation over voxels, and its permutation p-value; None where the test
        does not apply.
    null_mean, null_deviation
        Mean and deviation of the scores with pictures dealt anew.
    permutations, n_trials, n_pictures, n_voxels
        Number of permutations, and of trials, distinct pictures and voxels looked at.
    lags
        Scores of shifted pairings.
    best_lag
        The shift that is clearly better than none, if there is one.
    session_z
        How far each session's trials agree with predictions, in deviations above re-dealt pairs.
    sessions_at_chance
        Sessions that do not agree at all while the others clearly do.
    """

    ok: bool
    verdict: str
    score: float | None = None
    p_value: float | None = None
    null_mean: float | None = None
    null_deviation: float | None = None
    permutations: int = 0
    n_trials: int = 0
    n_pictures: int = 0
    n_voxels: int = 0
    lags: tuple[LagScore, ...] = ()
    best_lag: LagScore | None = None
    session_z: tuple[tuple[int, float], ...] = ()
    sessions_at_chance: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)


def require_aligned(result: Alignment) -> None:
    """Raise DataError, with score, p-value and the better lag, if the test speaks against."""
    if not result.ok:
        raise DataError(
            f"{result.verdict}; check the order of trials, session files and pictures, or use "
            "--no-alignment-test to go on without this test"
        )


class AlignmentTest:
    """The self-test of one subject, which takes what it needs of the betas while they go by.

    Parameters
    ----------
    trials
        Table of the trials, N rows with `session` and `stimulus_id`.
    pictures
        Pictures of all stimuli, (S, H, W, 3), 0..255; may be memory-mapped.
    stimuli
        Table of the stimuli, S rows with `stimulus_id`, in the order of the pictures.
    voxels
        Number of voxels.
    rng
        Draws stimuli, voxels, folds and permutations.
    config
        Sizes and thresholds.

    Attributes
    ----------
    sample
        The betas that are looked at; None where the test does not apply.

    Raises
    ------
    DataError
        If the tables and the pictures do not fit together.
    """

    def __init__(
        self,
        trials: pd.DataFrame,
        pictures: NDArray[np.uint8],
        stimuli: pd.DataFrame,
        voxels: int,
        *,
        rng: np.random.Generator,
        config: AlignmentConfig | None = None,
    ) -> None:
        if len(pictures) != len(stimuli):
            raise DataError(f"{len(pictures)} pictures do not fit {len(stimuli)} stimuli")
        self.rng, self.config = rng, config or AlignmentConfig()
        most, fewest = self.config.stimuli, self.config.fewest_pictures
        shown, members = draw_pictures(trials, pictures, stimuli, most, rng)
        self.distinct = len(shown)
        if self.distinct < fewest:
            # Too few to hold pictures out: the stimuli that share them are told apart by their ids.
            shown, members = draw_pictures(trials, pictures, stimuli, most, rng, merge=False)
        self.shown = shown
        self.sample: Sample | None = None
        if self.distinct >= 2 and len(shown) >= fewest:
            sessions = trials["session"].to_numpy()
            self.sample = Sample(sessions, members, voxels, self.config.voxels, rng)

    def result(self) -> Alignment:
        """Return what the betas that were taken say."""
        if self.sample is None:
            return Alignment(
                ok=True,
                verdict=f"not applicable: {self.distinct} distinct pictures and {len(self.shown)} "
                f"stimuli with trials; {self.config.fewest_pictures} are needed",
                n_pictures=self.distinct,
            )
        # Fewer components than pictures; more of them cost no power at this penalty.
        count = min(self.config.components, len(self.shown) // 2)
        features = principal_components(layout_features(self.shown), count)
        folds = min(self.config.folds, len(self.shown))
        model = EncodingModel.build(features, folds=folds, ridge=self.config.ridge, rng=self.rng)
        sample = self.sample
        return _score(
            model, sample.scaled(), sample.members, sample.sessions, self.rng, self.config
        )


def measure_alignment(
    betas: NDArray[np.floating],
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    *,
    rng: np.random.Generator,
    config: AlignmentConfig | None = None,
) -> Alignment:
    """Test whether betas and pictures are paired as the trial table says.

    Valid whatever the noise: under a random pairing of betas and pictures the observed score is
    one draw from the permuted ones, so at most `significance` of shuffled tables pass. Pictures
    that are the same count as one and are held out together, so a map from stimulus to picture
    that is wrong but consistent fails too (only with at least `fewest_pictures` distinct ones).
    Betas are scaled within sessions first, whatever scale they come in.

    Parameters
    ----------
    betas
        Betas of all trials, (N, V), finite; may be memory-mapped. About N x min(V, 1000) values
        are held in memory.
    trials, pictures, stimuli, rng, config
        Parameters of the test; see `AlignmentTest`.

    Raises
    ------
    DataError
        If tables and arrays do not fit together.
    """
    if betas.ndim != 2 or len(betas) != len(trials):
        raise DataError(f"betas of shape {betas.shape} do not fit {len(trials)} trials")
    test = AlignmentTest(trials, pictures, stimuli, betas.shape[1], rng=rng, config=config)
    if test.sample is not None:
        test.sample.choose(test.sample.reliability(betas))
        for where, block in row_blocks(betas, "alignment"):
            test.sample.take(where, block)
    return test.result()


def _session_z(
    predicted: Floats, values: Floats, members: Rows, sessions: Rows, rng: np.random.Generator
) -> tuple[tuple[int, float], ...]:
    """Return the agreement of each session's trials with predictions, where it can be told."""
    found = []
    for session in np.unique(sessions):
        rows = np.flatnonzero((sessions == session) & (members >= 0))
        if len(rows) > MOST_TRIALS:
            rows = np.sort(rng.choice(rows, size=MOST_TRIALS, replace=False))
        if len(np.unique(members[rows])) >= FEWEST_IN_SESSION:
            z = pair_z(predicted[members[rows]], values[rows], SESSION_PERMUTATIONS, rng)
            found.append((int(session), z))
    return tuple(found)


def sessions_at_chance(
    session_z: Sequence[tuple[int, float]], trials: Sequence[int]
) -> tuple[int, ...]:
    """Return the sessions that agree no better than chance where they clearly should.

    A session is named if its one-sided p-value is above .05 and its expected z, the median of the
    other sessions' scaled by the square root of its trials, is above 6. A session as good as the
    others then ends up here once in 150,000, one of half their signal once in 11 at the very
    limit; sessions of weaker subjects are not tested.

    Parameters
    ----------
    session_z
        Session and z.
    trials
        Trials that each z was computed from.
    """
    named = []
    for index, (session, z) in enumerate(session_z):
        rates = [
            other / np.sqrt(n)
            for i, ((_, other), n) in enumerate(zip(session_z, trials, strict=True))
            if i != index
        ]
        if not rates:
            continue
        expected = float(np.median(rates)) * np.sqrt(trials[index])
        if stats.norm.sf(z) > 0.05 and expected > CLEAR_SESSION:
            named.append(session)
    return tuple(named)


def _score(
    model: EncodingModel,
    values: Floats,
    members: Rows,
    sessions: Rows,
    rng: np.random.Generator,
    config: AlignmentConfig,
) -> Alignment:
    own = mean_by_picture(values, members, np.arange(len(values)))
    score = model.score(own)
    null = model.null_scores(own, config.permutations, rng)
    p, spread = p_value(score, null), float(null.std())
    lags, best, best_source = [], None, None
    for lag, across, source in sources(sessions, config.lags):
        shifted = model.score(mean_by_picture(values, members, source))
        lags.append(LagScore(lag, across, shifted))
        needed = max(score + BETTER_LAG * spread, float(null.mean()) + CLEAR_LAG * spread)
        if shifted > needed and (best is None or shifted > best.score):
            best, best_source = lags[-1], source
    if best is not None and best_source is not None:
        shifted_null = model.null_scores(
            mean_by_picture(values, members, best_source), config.permutations, rng
        )
        if p_value(best.score, shifted_null) > config.significance:
            best = None
    session_z = _session_z(model.predict(own), values, members, sessions, rng)
    counts = [int(((sessions == s) & (members >= 0)).sum()) for s, _ in session_z]
    # Of a subject that fails as a whole, the sessions say nothing more.
    at_chance = sessions_at_chance(session_z, counts) if p <= config.significance else ()
    ok = p <= config.significance and best is None and not at_chance
    return Alignment(
        ok=ok,
        verdict=_verdict(score, p, config.significance, best, at_chance),
        score=score,
        p_value=p,
        null_mean=float(null.mean()),
        null_deviation=spread,
        permutations=config.permutations,
        n_trials=int((members >= 0).sum()),
        n_pictures=len(own),
        n_voxels=values.shape[1],
        lags=tuple(lags),
        best_lag=best,
        session_z=session_z,
        sessions_at_chance=at_chance,
    )


def _verdict(
    score: float,
    p: float,
    significance: float,
    best: LagScore | None,
    at_chance: tuple[int, ...],
) -> str:
    figures = f"encoding score {score:.4f}, p = {p:.4g}"
    if best is not None:
        way = "through the whole experiment" if best.across_sessions else "within sessions"
        return (
            f"pairing of betas and pictures looks shifted by {best.lag} trial(s) {way}: betas lie "
            f"that far behind their rows of the trial table ({figures}; shifted {best.score:.4f})"
        )
    if p > significance:
        return f"pairing of betas and pictures looks shuffled ({figures}, above {significance:g})"
    if at_chance:
        return (
            f"session {at_chance[0]} looks paired with other pictures ({len(at_chance)} such "
            f"sessions) while the others agree with theirs ({figures})"
        )
    return f"betas and pictures belong together ({figures})"
