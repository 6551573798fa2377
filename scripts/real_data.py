"""Run the two small real data sets from archive to table, over several seeds.

    python scripts/real_data.py digit69 --archive digit69.npz --out runs/digit69 --seeds 0 1 2

Writes the three files that `mindeye prepare arrays` takes, prepares them, runs the preset of the
same name once a seed, and prints MindEye and ridge side by side as Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

RETRIEVAL = ("brain_to_image_top1", "image_to_brain_top1")
PICTURES = ("PixCorr", "SSIM")


def write_arrays(name: str, archive: Path, folder: Path) -> None:
    """Write betas.npy, stimuli.npy and trials.csv from the archive."""
    content = np.load(archive, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "betas.npy", content["voxels"])
    images = content["images"]
    if name == "digit69":
        trials = pd.DataFrame({"stimulus_id": range(len(images)), "split": content["split"]})
    else:
        # Ten figures, eight trials each: a stimulus is a figure, so that no split shares one.
        labels = content["label"]
        first = [int(np.flatnonzero(labels == k)[0]) for k in range(10)]
        images = images[first] * 255
        trials = pd.DataFrame({"stimulus_id": labels, "run": content["run"]})
    np.save(folder / "stimuli.npy", images.astype(np.uint8))
    trials.to_csv(folder / "trials.csv", index=False)


def mindeye(*words: str) -> None:
    """Run the command line, as a user would."""
    subprocess.run([sys.executable, "-m", "mindeye", *words], check=True)


def run_seed(name: str, folder: Path, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Prepare and run with one seed; return the rows of its table."""
    subject, run = folder / f"subject-{seed}", folder / f"run-{seed}"
    if not (subject / "subject.json").exists():
        share = () if name == "digit69" else ("--test-share=0.3",)
        mindeye(
            "prepare", "arrays", f"--betas={folder / 'betas.npy'}", f"--seed={seed}",
            f"--stimuli={folder / 'stimuli.npy'}", f"--trials={folder / 'trials.csv'}",
            f"--out={subject}", f"--subject={name}", f"--source={name}", *share,
        )  # fmt: skip
    mindeye("run", name, f"--subject-dir={subject}", f"--out={run}", f"seed={seed}")
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    return {(row["metric"], row["system"]): row for row in rows}


def cell(row: dict[str, float] | None) -> str:
    """Format a value with its interval."""
    return "" if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("digit69", "miyawaki2008"))
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags = parser.parse_args()
    write_arrays(flags.name, flags.archive, flags.out)
    tables = {seed: run_seed(flags.name, flags.out, seed) for seed in flags.seeds}
    heads = " | ".join(f"seed {seed}" for seed in flags.seeds)
    print(f"| metric | system | {heads} | mean |")
    print("|" + "---|" * (len(flags.seeds) + 3))
    systems = dict.fromkeys(RETRIEVAL, ("mindeye", "ridge", "ridge_centred"))
    systems |= dict.fromkeys(PICTURES, ("low", "high", "ridge", "mean_picture"))
    for metric, names in systems.items():
        for system in names:
            rows = [tables[seed].get((metric, system)) for seed in flags.seeds]
            found = [row["value"] for row in rows if row is not None]
            if found:
                cells = " | ".join(cell(row) for row in rows)
                print(f"| {metric} | {system} | {cells} | {np.mean(found):.3f} |")


if __name__ == "__main__":
    main()
