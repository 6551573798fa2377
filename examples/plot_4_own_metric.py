"""
A metric of your own
====================

A metric is one entry in `mindeye.METRICS`: its name, its direction, what guessing gives, and a function of
images. Tables, comparisons, controls and the report then know it.
"""

# %%
import numpy as np
from torch import Tensor

import mindeye
from mindeye import Metric


def colour_error(drawn: Tensor, truth: Tensor) -> np.ndarray:
    """Distance of mean colours, images (S, 3, H, W) in [0, 1]; one score a stimulus."""
    return (drawn.mean(dim=(2, 3)) - truth.mean(dim=(2, 3))).norm(dim=1).numpy()


mindeye.METRICS["colour_error"] = Metric(
    "colour_error", direction="lower", chance=None, range=(0, 3**0.5), compute=colour_error
)

# %%
rng = np.random.default_rng(0)
truth = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
near = np.clip(truth.astype(int) + rng.integers(-20, 20, truth.shape), 0, 255).astype(np.uint8)
far = rng.permutation(truth)
table = mindeye.compare(
    mindeye.evaluate(near, truth, metrics=["colour_error"]),
    mindeye.evaluate(far, truth, metrics=["colour_error"]),
)
print(table.to_string(index=False))
