"""Give a half-trained autoencoder more latent channels and go on from there.

    python scripts/zoo_widen.py .zoo-work/vae16/state.pt .zoo-work/vae/state.pt

The embedded autoencoder began with 16 latent channels; a principal component analysis of 8 x 8
patches showed that 16 numbers a patch hardly suffice for the quality wanted and 32 do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from zoo_vae import LATENTS, build_vae

SMALL = 0.3  # new weights of the decoder, as a share of the old ones' deviation


def widen(old: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """Return the weights with `LATENTS` channels; the old ones keep what they mean.

    Rows of the encoder's output are the means of all channels, then their log variances.
    """
    channels = old["post_quant_conv.bias"].shape[0]
    kept = torch.cat([torch.arange(channels), LATENTS + torch.arange(channels)])
    new = {key: value.clone() for key, value in build_vae().state_dict().items()}
    for key, value in old.items():
        if new[key].shape == value.shape:
            new[key] = value.clone()
    out = new["encoder.conv_out.weight"]
    out.normal_(0, float(old["encoder.conv_out.weight"][:channels].std()), generator=rng)
    out[LATENTS:] = 0
    out[kept] = old["encoder.conv_out.weight"]
    new["encoder.conv_out.bias"].zero_()[LATENTS:] = -4.0
    new["encoder.conv_out.bias"][kept] = old["encoder.conv_out.bias"]
    for name, index in (("quant_conv", kept), ("post_quant_conv", kept[:channels])):
        weight = torch.eye(len(new[f"{name}.bias"]))[..., None, None]
        weight[index[:, None], index[None, :]] = old[f"{name}.weight"]
        new[f"{name}.weight"] = weight
        new[f"{name}.bias"].zero_()[index] = old[f"{name}.bias"]
    into = new["decoder.conv_in.weight"]
    spread = SMALL * float(old["decoder.conv_in.weight"].std())
    into.normal_(0, spread, generator=rng)[:, :channels] = old["decoder.conv_in.weight"]
    return new


def main() -> None:
    """Widen a checkpoint of `train_zoo.py vae` into the start of another."""
    source, target = map(Path, sys.argv[1:3])
    state = torch.load(source, weights_only=True)
    weights = widen(state["averaged"], torch.Generator().manual_seed(0))
    note = (
        f"Warm start: {state['step']:,} steps ({state['seconds'] / 60:.0f} minutes) with 16 latent "
        "channels came first, widened by `scripts/zoo_widen.py`; the steps above came after."
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"model": weights, "averaged": weights, "step": 0, "seconds": 0.0, "note": note}, target
    )


if __name__ == "__main__":
    main()
