"""
A gallery of pictures
=====================

Among many pictures that the decoder has never met: which one did this person see? The same calls go from a
few hundred in memory to millions on disk (`folder=`, `index="ivfpq"`).
"""

# %%
# A decoder of one vector a picture, which is what large galleries hold. Ridge is quick to fit.
import numpy as np

import mindeye
from mindeye.data.scenes import draw_scenes, make_scenes
from mindeye.data.simulation import SimulateConfig

subject = mindeye.simulate_subject(
    SimulateConfig(train=400, test=40, voxels=600, ceiling_low=0.4, ceiling_high=0.4), seed=0
)
decoder = mindeye.RidgeDecoder(config={"targets": {"tokens": "pooled"}}).fit(subject)
seen = decoder.predict(subject)

# %%
# The gallery: the 40 test pictures among 300 new scenes.
others = draw_scenes(make_scenes(300, seed=7))
pictures = np.concatenate([subject.pictures_of(seen.ids), others])
ids = [*seen.ids, *(f"new_{i}" for i in range(300))]
gallery = mindeye.Gallery.build(pictures, ids=ids, encoder="zoo")
print(gallery)

# %%
# Ranks are from 0; chance of the right one among the first ten is 10 / 340.
table = mindeye.retrieve(seen, gallery, k=10)
print(table.head(3).to_string(index=False))
right = table[table["query"] == table["id"]]
print(f"among the first ten: {len(right) / len(seen):.2f} (chance {10 / len(gallery):.2f})")

# %%
# What was found for the first four pictures.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(4, 6, figsize=(9, 6))
row_of = {name: row for row, name in enumerate(ids)}
for line, query in zip(axes, seen.ids[:4], strict=True):
    found = table[table["query"] == query]["id"][:5]
    for axis, name in zip(line, [query, *found], strict=True):
        axis.imshow(pictures[row_of[name]])
        axis.set_axis_off()
axes[0, 0].set_title("seen")
axes[0, 1].set_title("found, best first", loc="left")
plt.show()
