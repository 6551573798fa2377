"""The simulated subject that tests of several rooms share."""

from mindeye.data.simulation import SimulateConfig

SMALL = SimulateConfig(
    train=60, test=20, voxels=120, sessions=3, ceiling_low=0.3, ceiling_high=0.3, noise_factors=5
)
