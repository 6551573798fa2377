"""
Your own arrays
===============

Betas as a matrix, images as an array, and which image each trial showed: that is all a subject needs.
The same checks run as for `mindeye prepare arrays`.
"""

# %%
# Sixty pictures, each shown three times, and a made-up linear response with noise.
import numpy as np

import mindeye
from mindeye.data.scenes import draw_scenes, make_scenes

rng = np.random.default_rng(0)
images = draw_scenes(make_scenes(60, seed=1), size=32)
ids = [f"img_{i:02d}" for i in range(60)]
shown = rng.permutation(np.repeat(np.arange(60), 3))
features = images.reshape(60, -1) / 255 - 0.5
signal = features @ rng.standard_normal((features.shape[1], 200))
betas = signal[shown] + 10 * rng.standard_normal((180, 200))
pictures, trials = dict(zip(ids, images, strict=True)), [ids[i] for i in shown]

# %%
# Betas are z-scored on training trials, images are split (no image is ever on two sides).
subject = mindeye.Subject.from_arrays(betas, pictures, trials)
print({name: len(members) for name, members in subject.splits.items()})

# %%
# Anything wrong is one line that says what and where.
from mindeye.errors import MindEyeError

broken = betas.copy()
broken[3, 5] = np.nan
try:
    mindeye.Subject.from_arrays(broken, pictures, trials)
except MindEyeError as error:
    print(error)

# %%
# Fit any decoder; write the subject to disk for the command line (`mindeye run ... --subject-dir`).
ridge = mindeye.RidgeDecoder(encoder="pixels:8:4").fit(subject)
print(f"right image first: {ridge.score(subject):.2f}")
