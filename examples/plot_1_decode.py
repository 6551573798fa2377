"""
Three lines to a decoded brain
==============================

A simulated person looks at pictures in a scanner; a decoder is trained on her betas; then we ask which
picture she saw, and draw it.
"""

# %%
# A subject holds betas, trials and stimuli, split by stimulus into train, val and test. Yours comes
# from `mindeye.load_subject("subj01")` or `mindeye.Subject.from_arrays`.
import mindeye
from mindeye.data.simulation import SimulateConfig

subject = mindeye.simulate_subject(
    SimulateConfig(train=400, test=40, voxels=600, ceiling_low=0.3, ceiling_high=0.3), seed=0
)

# %%
# Three lines: fit, predict, retrieve.
decoder = mindeye.BrainDecoder(
    config={"decoder": {"width": 256}, "optim": {"epochs": 6, "batch_size": 32}}
).fit(subject)
seen = decoder.predict(subject)
print(
    f"right picture first, of {len(seen)}: {decoder.score(subject):.2f} (chance {1 / len(seen):.3f})"
)

# %%
# The same question to a linear decoder, which is always worth asking: with few pictures it is hard to
# beat, and this subject's voxels are a nearly linear function of what is decoded.
ridge = mindeye.RidgeDecoder(centred=True).fit(subject)
print(f"ridge, centred: {ridge.score(subject):.2f}")

# %%
# Draw what was seen: samples of the diffusion prior, through a generator that takes embeddings.
import matplotlib.pyplot as plt

drawn = mindeye.Reconstructor(config={"candidates": 1, "steps": 8}).draw(seen[:6])
shown = subject.pictures_of(seen.ids[:6])
figure, axes = plt.subplots(2, 6, figsize=(9, 3.2))
for column, (above, below) in enumerate(zip(shown, drawn, strict=True)):
    axes[0, column].imshow(above)
    axes[1, column].imshow(below)
for axis in axes.flat:
    axis.set_axis_off()
axes[0, 0].set_title("seen", loc="left")
axes[1, 0].set_title("drawn", loc="left")
plt.show()
