"""Simulated subjects: procedural scenes, voxels with known responses, noise like a scanner's."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.preprocess import fit_scaler, noise_ceiling
from mindeye.data.responses import feature_maps, high_level_responses, low_level_responses
from mindeye.data.scenes import attributes, caption, draw_scene, make_scene
from mindeye.data.simulation import SimulateConfig
from mindeye.data.splits import hold_out
from mindeye.data.subject import Subject, write_subject
from mindeye.data.trials import complete_trials, trials_by_stimulus
from mindeye.fingerprints import config_dict
from mindeye.progress import track

Floats = NDArray[np.float32]

SCENE_SEED_OFFSET = 1_000_000_000
"""Keeps the scenes of subjects apart from those the zoo was trained on, whatever the seed."""
TRIALS_PER_RUN = 63


def _trial_table(config: SimulateConfig, ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Spread the repeats of every stimulus over the experiment, each repeat in random order."""
    order = np.concatenate([rng.permutation(len(ids)) for _ in range(config.repeats)])
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


def simulate_subject(config: SimulateConfig, seed: int, out: Path) -> Subject:
    """Write a simulated subject.

    Betas are z-scored within sessions on training trials, like NSD's. The folder `truth` keeps
    noise-free responses and the noise model in the same units, for `ideal.log_likelihood`.

    Parameters
    ----------
    config
        Sizes and noise.
    seed
        Same seed and config, same files.
    out
        Folder to write.
    """
    brain = zlib.crc32(config.subject.encode())
    rng = np.random.default_rng([seed, brain])
    count = config.train + config.test
    indices = list(range(count))
    scenes = [make_scene(i, SCENE_SEED_OFFSET + seed) for i in indices]
    ids = [f"scene{i:05d}" for i in indices]
    pictures = np.stack([draw_scene(s, config.size) for s in track(scenes, "scenes")])

    voxels = config.voxels or int(rng.integers(2600, 3400))
    high = round(config.high_share * voxels)
    low = voxels - high
    maps = feature_maps(pictures)
    seen, fields = low_level_responses(maps, low, rng)
    meant = high_level_responses(np.stack([attributes(s) for s in scenes]), high, rng)
    responses = np.concatenate([seen, meant], axis=1)

    trials = _trial_table(config, ids, rng)
    session = trials["session"].to_numpy()
    row = {s: i for i, s in enumerate(ids)}
    shown = np.array([row[s] for s in trials["stimulus_id"]])
    ceilings = _ceilings(config, low, high, rng)
    loadings = rng.standard_normal((voxels, config.noise_factors), dtype=np.float32)
    loadings *= np.sqrt(config.correlated_noise) / np.linalg.norm(loadings, axis=1, keepdims=True)
    gain = np.sqrt(ceilings)
    noise_gain = np.sqrt(1 - ceilings)
    betas = responses[shown] * gain + _noise(config, session, loadings, rng) * noise_gain

    kept, held = hold_out(ids[: config.train], 0.1, rng)
    val = set(held)
    split = ["test" if i >= config.train else "val" if s in val else "train"
             for i, s in enumerate(ids)]  # fmt: skip
    training = trials["stimulus_id"].isin(kept).to_numpy()
    scaler = fit_scaler(betas, session, training, zscore="session")
    assert scaler is not None
    betas = scaler.apply(betas, session)
    scale = 1 / scaler.deviation.mean(axis=0)
    own = np.sqrt(1 - config.correlated_noise)
    measured = noise_ceiling(betas, list(trials_by_stimulus(trials).values()))
    nowhere = np.full(high, np.nan, dtype=np.float32)
    table = pd.DataFrame(
        {
            "voxel": np.arange(voxels),
            "roi": ["early"] * low + ["higher"] * high,
            "x": np.concatenate([fields[:, 0], nowhere]),
            "y": np.concatenate([fields[:, 1], nowhere]),
            "radius": np.concatenate([fields[:, 2], nowhere]),
            "true_noise_ceiling": ceilings,
        }
    )
    if measured is not None:
        table["noise_ceiling"] = measured
    return write_subject(
        out,
        betas=betas,
        trials=trials,
        pictures=pictures,
        stimuli=pd.DataFrame(
            {"stimulus_id": ids, "split": split, "caption": [caption(s) for s in scenes]}
        ),
        voxels=table,
        info={
            "subject": config.subject,
            "source": f"mindeye prepare simulate --seed {seed}",
            "simulated": True,
            "seed": seed,
            "simulation": config_dict(config),
            "licence": "CC0-1.0 (made by this software)",
            "space": "simulated voxels",
            "units": "z-scored within sessions on training trials",
        },
        truth={
            "responses": responses * gain * scale - _offset(responses, gain, scale, ids, kept),
            "noise_loadings": loadings * (noise_gain * scale)[:, None],
            "noise_deviation": np.asarray(own * noise_gain * scale, dtype=np.float32),
        },
    )


def _offset(
    responses: Floats, gain: Floats, scale: Floats, ids: list[str], kept: list[str]
) -> Floats:
    """Return the mean response over training stimuli, which z-scoring took away."""
    members = set(kept)
    training = np.array([s in members for s in ids])
    return np.asarray((responses[training] * gain * scale).mean(axis=0), dtype=np.float32)
