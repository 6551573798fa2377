"""Train and measure the models embedded in `mindeye.zoo`.

Run ``python scripts/train_zoo.py clip`` and ``vae`` (side by side if you like), then
``generator`` and ``decoder`` (likewise), then ``measure``, which also writes the model cards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from zoo_training import Budget

ZOO = Path(__file__).parents[1] / "src" / "mindeye" / "zoo"
WORK = Path(__file__).parents[1] / ".zoo-work"
MINUTES = {"clip": 22.0, "vae": 24.0, "decoder": 25.0, "generator": 25.0}


def main() -> None:
    """Parse the command line and run one verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*MINUTES, "measure"])
    parser.add_argument("--out", type=Path, help="model folder; default: its place in the package")
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints and caches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="train this long (without --steps)")
    parser.add_argument("--steps", type=int, help="train this many steps: exactly repeatable")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "measure":
        from zoo_measure import measure

        measure(args.out or ZOO)
        return
    minutes = args.minutes or MINUTES[args.what]
    budget = Budget(None if args.steps else minutes, args.steps, args.threads, args.seed)
    out = args.out or ZOO / args.what
    if args.what == "clip":
        from zoo_clip import train_clip

        train_clip(out, args.work, budget)
    elif args.what == "vae":
        from zoo_vae import train_vae

        train_vae(out, args.work, budget)
    elif args.what == "decoder":
        from zoo_vae import train_decoder

        train_decoder(args.out or ZOO / "vae", args.work, budget)
    else:
        from zoo_generator import train_generator

        train_generator(out, args.work, budget, zoo=ZOO)


if __name__ == "__main__":
    main()
