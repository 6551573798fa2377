"""A miniature of NSD: the same folders, files, types and axes, filled by a simulated subject.

The betas are those of `mindeye.data.simulate` (before z-scoring), rounded to int16 / 300; the
shared pictures are the simulation's test pictures, the others differ from subject to subject, the
trial order is common to all. So decoding from the prepared miniature must reach what the simulated
subject reaches directly.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_dict
from mindeye.data.simulation import SimulateConfig
from mindeye.datasets.nsd import miniature_files as files
from mindeye.datasets.nsd.design import MOST_REPEATS
from mindeye.datasets.nsd.layout import MARKER, SUBJECTS, Betas, NsdPaths
from mindeye.errors import ConfigError
from mindeye.files import write_json
from mindeye.progress import track

if TYPE_CHECKING:
    from mindeye.data.simulate import Simulation

Ints = NDArray[np.int64]
UNUSED = 40
"""Pictures in the file that nobody sees; NSD has them too (73,000 of which 70,566 were shown)."""


@dataclass(frozen=True)
class MiniatureConfig:
    """A miniature NSD tree.

    Parameters
    ----------
    subjects
        Subjects with betas, 1 to 8; each has another grid and other private pictures.
    sessions
        Sessions of each.
    trials
        Trials of a session.
    pictures
        Pictures in each subject's list; each has three places in the trial order.
    shared
        How many of them are shared by all subjects (the test pictures).
    voxels
        Voxels of the first subject in `nsdgeneral`; every next subject has 5 more.
    ceiling_low
        Mean single-trial noise ceiling of low-level voxels, high enough that 90 trials carry
        signal.
    ceiling_high
        Mean single-trial noise ceiling of high-level voxels.
    drift
        Session offsets and slow drifts, in units of the noise.
    size
        Picture side in pixels (425 in NSD).
    file_format
        Files of betas: `hdf5`, `nii` or `both`.
    betas
        Version of the betas that the files are called.
    """

    subjects: int = 2
    sessions: int = 3
    trials: int = 30
    pictures: int = 30
    shared: int = 8
    voxels: int = 120
    ceiling_low: float = 0.5
    ceiling_high: float = 0.3
    drift: float = 0.3
    size: int = 64
    file_format: Literal["hdf5", "nii", "both"] = "hdf5"
    betas: Betas = "betas_fithrf_GLMdenoise_RR"

    def __post_init__(self) -> None:
        if not 1 <= self.subjects <= SUBJECTS:
            raise ConfigError(f"subjects={self.subjects}: NSD has up to {SUBJECTS}")
        if not 1 <= self.sessions * self.trials <= MOST_REPEATS * self.pictures:
            raise ConfigError(
                f"{self.sessions} sessions of {self.trials} trials do not fit {self.pictures} "
                f"pictures shown up to {MOST_REPEATS} times; give more pictures or fewer trials"
            )
        if self.voxels < 14:
            raise ConfigError(f"voxels={self.voxels}: a miniature needs at least 14")

    def simulation(self, subject: int) -> SimulateConfig:
        """Return the configuration of one subject's simulation; subjects count from 1."""
        return SimulateConfig(
            subject=f"subj{subject:02d}",
            train=self.pictures - self.shared,
            test=self.shared,
            sessions=self.sessions,
            size=self.size,
            voxels=self.voxels + 5 * (subject - 1),
            ceiling_low=self.ceiling_low,
            ceiling_high=self.ceiling_high,
            noise_factors=5,
            drift=self.drift,
        )


def write_miniature(root: Path, config: MiniatureConfig, seed: int) -> None:
    """Write a miniature NSD tree of one or more simulated subjects.

    Parameters
    ----------
    root
        Folder for `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    config
        Sizes and noise.
    seed
        Same seed and config, same betas, pictures and order.

    Raises
    ------
    ConfigError
        If the sizes do not fit together.
    DataError
        If `root` holds an NSD tree that is no miniature.
    """
    # Here, so that whoever only wants the config for --help does not wait for torch.
    from mindeye.data.simulate import simulate

    files.refuse_real_tree(root)
    rng = np.random.default_rng([seed, zlib.crc32(b"order of an NSD miniature")])
    order = rng.permutation(np.repeat(np.arange(config.pictures), MOST_REPEATS)).astype(np.int64)
    first = order[: config.sessions * config.trials]
    simulations = []
    for subject in range(1, config.subjects + 1):
        simulated = config.simulation(subject)
        simulations.append(
            simulate(simulated, seed, order=first, scenes=_scenes(simulated, subject))
        )
    _write(root, simulations, order, config)


def miniature_of(
    root: Path, simulation: Simulation, *, file_format: Literal["hdf5", "nii", "both"] = "hdf5"
) -> None:
    """Write a tree whose subject 1 has the betas, pictures and order of a simulation.

    The betas are those before z-scoring, rounded to the nearest 1 / 300; voxels come in the
    simulation's order, trials too. `mindeye_scenes.csv` at the root tells which 73k index is which
    of the simulation's stimuli.

    Parameters
    ----------
    root
        Folder to write.
    simulation
        Simulated experiment, as `mindeye.data.simulate.simulate(config, seed)` returns it.
    file_format
        Files of betas.

    Raises
    ------
    ConfigError
        If sessions are not of equal length or a stimulus has more than three repeats.
    DataError
        If `root` holds an NSD tree that is no miniature.
    """
    simulated = simulation.config
    if len(simulation.betas) % simulated.sessions:
        raise ConfigError(
            f"{len(simulation.betas)} trials do not make {simulated.sessions} equal sessions; "
            "choose a number of sessions that divides them"
        )
    if simulation.trials["repeat"].max() >= MOST_REPEATS:
        raise ConfigError(f"NSD shows a picture at most {MOST_REPEATS} times; use fewer repeats")
    files.refuse_real_tree(root)
    config = MiniatureConfig(
        subjects=1,
        sessions=simulated.sessions,
        trials=len(simulation.betas) // simulated.sessions,
        pictures=len(simulation.ids),
        shared=simulated.test,
        voxels=len(simulation.ceilings),
        ceiling_low=simulated.ceiling_low,
        ceiling_high=simulated.ceiling_high,
        drift=simulated.drift,
        size=simulated.size,
        file_format=file_format,
    )
    _write(root, [simulation], simulation.shown.astype(np.int64), config)


def _scenes(config: SimulateConfig, subject: int) -> list[int]:
    """Return the scenes of a subject: private ones, then the shared; subject 1 has 0 to S - 1."""
    shared = list(range(config.train, config.train + config.test))
    if subject == 1:
        return [*range(config.train), *shared]
    first = config.train + config.test + (subject - 2) * config.train
    return [*range(first, first + config.train), *shared]


def _write(root: Path, simulations: list[Simulation], order: Ints, config: MiniatureConfig) -> None:
    """Write the tree; `order` holds rows of the simulations' stimuli, for the whole experiment."""
    seed = simulations[0].seed
    # First of all, so that not even a tree that is cut off passes for a person's data.
    about = {"simulated": True, "seed": seed, "simulation": config_dict(simulations[0].config)}
    write_json(root / MARKER, {**about, "miniature": config_dict(config)})
    rng = np.random.default_rng([seed, zlib.crc32(b"numbers of an NSD miniature")])
    design = _draw_design(order, config, rng)
    paths = NsdPaths(root, 1, config.betas)
    files.write_design(paths.design, design, trials=config.trials)
    rows, pictures = [], []
    for subject, simulation in enumerate(simulations, start=1):
        # The list begins with the shared pictures, the simulation ends with them.
        train = simulation.config.train
        listed = np.r_[train : len(simulation.ids), :train]
        rows.append(design.images[subject - 1])
        pictures.append(simulation.pictures[listed])
    files.write_pictures(
        paths.stimuli, np.concatenate(rows), np.concatenate(pictures), count=design.pictures
    )
    files.write_scenes(root / files.SCENES, simulations, rows)
    for subject, simulation in enumerate(track(simulations, "miniature"), start=1):
        place = files.place_voxels(subject, simulation, rng)
        own = replace(paths, subject=subject)
        files.write_volumes(own, place, simulation)
        files.write_betas(own, place, simulation, rng, file_format=config.file_format)


def _draw_design(
    order: Ints, config: MiniatureConfig, rng: np.random.Generator
) -> files.RandomDesign:
    """Give every picture a place in the lists and a 73k index, all from 0."""
    train = config.pictures - config.shared
    private = SUBJECTS * train
    pool = rng.permutation(config.shared + private + UNUSED)
    shared = np.sort(pool[: config.shared])
    own = pool[config.shared : config.shared + private].reshape(SUBJECTS, train)
    lists = np.concatenate([np.tile(shared, (SUBJECTS, 1)), own], axis=1)
    positions = np.where(order < train, order + config.shared, order - train)
    return files.RandomDesign(positions, lists.astype(np.int64), config.shared, len(pool))
