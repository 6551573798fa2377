"""
Your own arrays
===============

Betas as a matrix, images as an array, and which image each trial showed: that is all a subject needs.
The same checks run as for `mindeye prepare arrays`.
"""

# %%
# Forty images, each shown three times; a made-up linear response with noise.
import numpy as np

import mindeye

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
ids = [f"img_{i:02d}" for i in range(40)]
shown = rng.permutation(np.tile(np.arange(40), 3))
features = images.reshape(40, -1) / 255 - 0.5
signal = features @ rng.standard_normal((features.shape[1], 200)) / 10
betas = signal[shown] + rng.standard_normal((120, 200))

# %%
# Betas are z-scored on training trials, images are split (no image is ever on two sides).
subject = mindeye.Subject.from_arrays(
    betas, dict(zip(ids, images, strict=True)), [ids[i] for i in shown]
)
print({name: len(members) for name, members in subject.splits.items()})

# %%
# Anything wrong is one line that says what and where.
from mindeye.errors import MindEyeError

broken = betas.copy()
broken[3, 5] = np.nan
try:
    mindeye.Subject.from_arrays(
        broken, dict(zip(ids, images, strict=True)), [ids[i] for i in shown]
    )
except MindEyeError as error:
    print(error)

# %%
# Fit any decoder; write the subject to disk for the command line (`mindeye run ... --subject-dir`).
ridge = mindeye.RidgeDecoder(encoder="pixels:8:4").fit(subject)
print(f"right image first: {ridge.score(subject):.2f}")
