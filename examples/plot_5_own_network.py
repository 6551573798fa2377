"""
A network of your own
=====================

The backbone is one entry in `mindeye.DECODERS`: a class that is built from its configuration and the sizes of
the data. Losses, prior, training loop, resuming and saving stay as they are.
"""

# %%
# It returns the tokens that condition the prior, and those that retrieval contrasts with embeddings.
from torch import Tensor, nn

import mindeye
from mindeye.data.simulation import SimulateConfig


class Linear(nn.Module):
    """One linear map for both."""

    def __init__(self, config, sizes):
        super().__init__()
        self.shape = (sizes.tokens, sizes.width)
        self.map = nn.Linear(sizes.voxels, sizes.tokens * sizes.width)

    def forward(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.map(betas).unflatten(1, self.shape)
        return tokens, tokens


mindeye.DECODERS["linear"] = Linear

# %%
# By its name in Python; on the command line it would be `high.decoder.kind=linear`.
subject = mindeye.simulate_subject(
    SimulateConfig(train=300, test=40, voxels=400, ceiling_low=0.3, ceiling_high=0.3), seed=0
)
common = {"optim": {"epochs": 4, "batch_size": 32}}
for kind in ("residual", "linear"):
    config = {**common, "decoder": {"kind": kind, "width": 128}}
    decoder = mindeye.BrainDecoder(config=config).fit(subject)
    print(f"{kind}: right picture first in {decoder.score(subject):.2f} of 40")
