"""Simulated subjects: procedural scenes, voxels with known responses, noise like a scanner's."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_dict
from mindeye.data.given import GivenPictures, as_seen, check_given
from mindeye.data.preprocess import Scaler, fit_scaler, noise_ceiling
from mindeye.data.responses import feature_maps, high_level_responses, low_level_responses
from mindeye.data.scenes import Scene, attributes, caption, draw_scene, make_scene
from mindeye.data.simulation import SimulateConfig
from mindeye.data.splits import hold_out
from mindeye.data.subject import Subject
from mindeye.data.subject_writing import write_subject
from mindeye.data.trials import complete_trials, trials_by_stimulus
from mindeye.errors import ConfigError
from mindeye.progress import track

Floats = NDArray[np.float32]

SCENE_SEED_OFFSET = 1_000_000_000
"""Keeps the scenes of subjects apart from those the zoo was trained on, whatever the seed."""
TRIALS_PER_RUN = 63


def _trial_table(
    config: SimulateConfig, ids: list[str], given: NDArray[np.int64] | np.random.Generator
) -> pd.DataFrame:
    """Spread the repeats of every stimulus over the experiment, each repeat in random order."""
    if isinstance(given, np.random.Generator):
        order = np.concatenate([given.permutation(len(ids)) for _ in range(config.repeats)])
    else:
        order = given
        if len(order) < config.sessions or order.min() < 0 or order.max() >= len(ids):
            raise ConfigError(
                f"an order of {len(order)} trials for {len(ids)} stimuli and {config.sessions} "
                "sessions: give positions of stimuli, at least one trial a session"
            )
    session = np.arange(len(order)) * config.sessions // len(order)
    first = np.searchsorted(session, session)
    table = pd.DataFrame(
        {
            "session": session,
            "run": (np.arange(len(order)) - first) // TRIALS_PER_RUN,
            "trial": np.arange(len(order)),
            "stimulus_id": [ids[i] for i in order],
        }
    )
    return complete_trials(table)


def _noise(
    config: SimulateConfig, session: NDArray[np.int64], loadings: Floats, rng: np.random.Generator
) -> Floats:
    """Return unit-variance trial noise (N, V) plus session offsets and slow drift."""
    trials, voxels = len(session), len(loadings)
    factors = rng.standard_normal((trials, loadings.shape[1]), dtype=np.float32)
    noise = factors @ loadings.T
    own = np.sqrt(1 - config.correlated_noise)
    noise += np.float32(own) * rng.standard_normal((trials, voxels), dtype=np.float32)
    sessions = int(session.max()) + 1
    offset = rng.standard_normal((sessions, voxels), dtype=np.float32)
    slope = rng.standard_normal((sessions, voxels), dtype=np.float32)
    place = np.empty(trials, dtype=np.float32)
    for s in range(sessions):
        rows = np.flatnonzero(session == s)
        place[rows] = np.linspace(-1, 1, len(rows))
    noise += np.float32(config.drift) * (offset[session] + 0.5 * slope[session] * place[:, None])
    return noise


def _ceilings(config: SimulateConfig, low: int, high: int, rng: np.random.Generator) -> Floats:
    """Draw single-trial noise ceilings from Beta distributions of the configured means."""

    def draw(mean: float, count: int) -> NDArray[np.float64]:
        return rng.beta(1.2, 1.2 * (1 - mean) / mean, size=count)

    both = [draw(config.ceiling_low, low), draw(config.ceiling_high, high)]
    return np.asarray(np.concatenate(both), dtype=np.float32)


@dataclass(frozen=True)
class Simulation:
    """A simulated experiment in memory, before anything is scaled or written.

    Parameters
    ----------
    config, seed
        Configuration and seed of the simulation.
    given
        The S pictures, their names and meaning; the first `config.train` are for training, the
        others for testing.
    scenes
        The S scenes that were drawn, like "scene00012"; none where pictures were given.
    trials
        Table of the trials, N rows: session (from 0), run, trial, stimulus_id, repeat.
    shown
        Row of the stimulus of every trial, (N,).
    betas
        Betas (N, V), signal and noise together of unit variance, plus session offsets and drift.
    responses
        Noise-free responses (S, V), standardised over stimuli.
    ceilings
        Planted single-trial noise ceilings, shares of variance, (V,).
    fields
        Receptive fields (L, 3) of the L low-level voxels, which come first.
    loadings
        Loadings (V, F) of the common noise.
    kept
        Training stimuli less those held out for validation.
    """

    config: SimulateConfig
    seed: int
    given: GivenPictures
    scenes: list[Scene]
    trials: pd.DataFrame
    shown: NDArray[np.int64]
    betas: Floats
    responses: Floats
    ceilings: Floats
    fields: Floats
    loadings: Floats
    kept: list[str]

    @property
    def ids(self) -> list[str]:
        """Names of the S stimuli."""
        return self.given.ids

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """All S pictures (S, H, W, 3), 0..255."""
        return self.given.pictures


def simulate(
    config: SimulateConfig,
    seed: int,
    *,
    order: NDArray[np.int64] | None = None,
    scenes: Sequence[int] | None = None,
) -> Simulation:
    """Simulate a subject in memory.

    Parameters
    ----------
    config
        Sizes and noise.
    seed
        Same seed, config, order and scenes, same numbers.
    order
        (N,) position in the list of stimuli (0 to S - 1, the first `config.train` are training
        ones) of every trial, for an order that subjects share; drawn if not given. Each trial of
        it counts, `config.repeats` is not looked at.
    scenes
        S distinct numbers of scenes, 0 to S - 1 if not given; the same number is the same picture
        for every subject of one seed.

    Raises
    ------
    ConfigError
        If `order` or `scenes` do not fit the configured numbers of stimuli and sessions.
    """
    count = config.train + config.test
    indices = list(range(count)) if scenes is None else list(scenes)
    if len(indices) != count or len(set(indices)) != count:
        raise ConfigError(f"{len(set(indices))} distinct scenes were given for {count} stimuli")
    made = [make_scene(i, SCENE_SEED_OFFSET + seed) for i in indices]
    drawn = GivenPictures(
        ids=[f"scene{i:05d}" for i in indices],
        pictures=np.stack([draw_scene(s) for s in track(made, "scenes")]),
        attributes=np.stack([attributes(s) for s in made]),
        captions=[caption(s) for s in made],
        source=f"mindeye prepare simulate --seed {seed}",
        licence="CC0-1.0 (made by this software)",
    )
    maps = feature_maps(drawn.pictures)
    return _measure(config, seed, drawn, maps, order=order, scenes=made)


def simulate_given(config: SimulateConfig, seed: int, given: GivenPictures) -> Simulation:
    """Simulate a subject that looks at pictures of one's own.

    Voxels answer and noise is made as in `simulate`. The subject sees the pictures at `config.size`
    pixels a side; kept, and embedded, they are as they were given.

    Parameters
    ----------
    config
        Sizes and noise; `train` and `test` add up to the number of pictures.
    seed
        Same seed, config and pictures, same numbers.
    given
        The pictures and their meaning.

    Raises
    ------
    DataError
        As `check_given`.
    """
    check_given(config, given)
    return _measure(config, seed, given, feature_maps(as_seen(given.pictures, config.size)))


def _measure(
    config: SimulateConfig,
    seed: int,
    given: GivenPictures,
    maps: Floats,
    *,
    order: NDArray[np.int64] | None = None,
    scenes: Sequence[Scene] = (),
) -> Simulation:
    """Simulate the betas of a subject that sees feature maps (S, F, GRID, GRID)."""
    rng = np.random.default_rng([seed, zlib.crc32(config.subject.encode())])
    ids = given.ids
    voxels = config.voxels or int(rng.integers(2600, 3400))
    high = round(config.high_share * voxels)
    low = voxels - high
    seen, fields = low_level_responses(maps, low, rng)
    meant = high_level_responses(given.attributes, high, rng)
    responses = np.concatenate([seen, meant], axis=1)

    trials = _trial_table(config, ids, rng if order is None else order)
    session = trials["session"].to_numpy()
    row = {s: i for i, s in enumerate(ids)}
    shown = np.array([row[s] for s in trials["stimulus_id"]])
    ceilings = _ceilings(config, low, high, rng)
    loadings = rng.standard_normal((voxels, config.noise_factors), dtype=np.float32)
    loadings *= np.sqrt(config.correlated_noise) / np.linalg.norm(loadings, axis=1, keepdims=True)
    gain = np.sqrt(ceilings)
    noise_gain = np.sqrt(1 - ceilings)
    betas = responses[shown] * gain + _noise(config, session, loadings, rng) * noise_gain
    kept, _ = hold_out(ids[: config.train], 0.1, rng)
    return Simulation(
        config=config,
        seed=seed,
        given=given,
        scenes=list(scenes),
        trials=trials,
        shown=shown,
        betas=betas,
        responses=responses,
        ceilings=ceilings,
        fields=fields,
        loadings=loadings,
        kept=kept,
    )


def simulate_subject(
    config: SimulateConfig | None = None, seed: int = 0, out: str | Path | None = None
) -> Subject:
    """Simulate a subject that looks at procedural scenes.

    Betas are z-scored within sessions on training trials, like NSD's. The folder `truth` keeps
    noise-free responses and the noise model in the same units, for `ideal.log_likelihood`.

    Parameters
    ----------
    config
        Sizes and noise; those of the demo by default.
    seed
        Seed of everything random: same seed and config, same bytes.
    out
        Folder to write; None holds the subject in memory.

    Returns
    -------
    Subject
        Betas, trials and stimuli with splits, and what an ideal observer needs.

    Examples
    --------
    >>> subject = simulate_subject(SimulateConfig(train=24, test=4, voxels=30), seed=0)
    >>> subject.betas_of("test").shape
    (4, 30)
    """
    simulation = simulate(config or SimulateConfig(), seed)
    if out is not None:
        return write_simulation(simulation, Path(out))
    with TemporaryDirectory(prefix="mindeye-") as folder:
        return write_simulation(simulation, Path(folder) / "subject").in_memory()


def write_simulation(simulation: Simulation, out: Path) -> Subject:
    """Scale a simulation and write it as a prepared subject; see `simulate_subject`."""
    config, trials, ids = simulation.config, simulation.trials, simulation.ids
    session = trials["session"].to_numpy()
    training = trials["stimulus_id"].isin(simulation.kept).to_numpy()
    scaler = fit_scaler(simulation.betas, session, training, zscore="session")
    assert scaler is not None
    betas = scaler.apply(simulation.betas, session)
    table = _voxel_table(simulation)
    measured = noise_ceiling(betas, list(trials_by_stimulus(trials).values()))
    if measured is not None:
        table["noise_ceiling"] = measured
    members = set(simulation.kept)
    split = ["test" if i >= config.train else "train" if s in members else "val"
             for i, s in enumerate(ids)]  # fmt: skip
    return write_subject(
        out,
        betas=betas,
        trials=trials,
        pictures=simulation.pictures,
        stimuli=pd.DataFrame(
            {
                "stimulus_id": ids,
                "split": split,
                "caption": simulation.given.captions,
            }
        ),
        voxels=table,
        info={
            "subject": config.subject,
            "source": simulation.given.source,
            "simulated": True,
            "seed": simulation.seed,
            "simulation": config_dict(config),
            "licence": simulation.given.licence,
            "space": "simulated voxels",
            "units": "z-scored within sessions on training trials",
        },
        more={f"truth/{name}.npy": array for name, array in _truth(simulation, scaler).items()},
    )


def _voxel_table(simulation: Simulation) -> pd.DataFrame:
    """Return what is planted in every voxel."""
    fields, voxels = simulation.fields, len(simulation.ceilings)
    low, high = len(fields), voxels - len(fields)
    nowhere = np.full(high, np.nan, dtype=np.float32)
    return pd.DataFrame(
        {
            "voxel": np.arange(voxels),
            "roi": ["early"] * low + ["higher"] * high,
            "x": np.concatenate([fields[:, 0], nowhere]),
            "y": np.concatenate([fields[:, 1], nowhere]),
            "radius": np.concatenate([fields[:, 2], nowhere]),
            "true_noise_ceiling": simulation.ceilings,
        }
    )


def _truth(simulation: Simulation, scaler: Scaler) -> dict[str, Floats]:
    """Return noise-free responses and the noise model, in the units of the scaled betas."""
    gain = np.sqrt(simulation.ceilings)
    noise_gain = np.sqrt(1 - simulation.ceilings)
    scale = 1 / scaler.deviation.mean(axis=0)
    own = np.sqrt(1 - simulation.config.correlated_noise)
    responses = simulation.responses
    offset = _offset(responses, gain, scale, simulation.ids, simulation.kept)
    return {
        "responses": responses * gain * scale - offset,
        "noise_loadings": simulation.loadings * (noise_gain * scale)[:, None],
        "noise_deviation": np.asarray(own * noise_gain * scale, dtype=np.float32),
    }


def _offset(
    responses: Floats, gain: Floats, scale: Floats, ids: list[str], kept: list[str]
) -> Floats:
    """Return the mean response over training stimuli, which z-scoring took away."""
    members = set(kept)
    training = np.array([s in members for s in ids])
    return np.asarray((responses[training] * gain * scale).mean(axis=0), dtype=np.float32)
