"""
Compare two decoders
====================

Two numbers that differ are no finding. The same stimuli are scored by both decoders, and the difference is
tested stimulus by stimulus.
"""

# %%

import mindeye
from mindeye.data.simulation import SimulateConfig

subject = mindeye.simulate_subject(
    SimulateConfig(train=300, test=60, voxels=400, ceiling_low=0.3, ceiling_high=0.3), seed=1
)
truth = subject.pictures_of("test")

# %%
# Both draw through the same generator, from the same noise.
options = {"candidates": 1, "steps": 6}
drawn = {}
for name, decoder in {
    "ridge": mindeye.RidgeDecoder(),
    "neighbours": mindeye.NeighbourDecoder(),
}.items():
    predicted = decoder.fit(subject).predict(subject)
    drawn[name] = mindeye.Reconstructor(config=options).draw(predicted)

# %%
# Every metric with interval, chance and the floor of shuffled pairs.
scores = {name: mindeye.evaluate(images, truth) for name, images in drawn.items()}
print(scores["ridge"].to_string(index=False))

# %%
# Paired bootstrap, sign-flip p, adjusted over all tests of the call.
print(mindeye.compare(scores["ridge"], scores["neighbours"]).to_string(index=False))
