"""Does a decoder reach through `prepare nsd` what it reaches on the simulated subject itself?

Writes the demo's subject as a miniature of NSD's files, prepares it from them, runs the demo's
preset on both and prints retrieval side by side:

    python scripts/miniature_nsd.py --out DIR --seed 0
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from mindeye.data.simulate import simulate, write_simulation
from mindeye.data.simulation import SimulateConfig
from mindeye.datasets.nsd.miniature import miniature_of

METRICS = ("brain_to_image_top1", "image_to_brain_top1")


def mindeye(*words: str) -> None:
    """Run the command line, as a user would."""
    subprocess.run([sys.executable, "-m", "mindeye", *words], check=True)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    out, seed = flags.out, flags.seed
    if not (out / "direct" / "subject.json").exists():
        simulation = simulate(SimulateConfig(), seed)
        miniature_of(out / "nsd", simulation)
        write_simulation(simulation, out / "direct")
    mindeye("prepare", "nsd", f"--root={out / 'nsd'}", "--subject=1", f"--out={out / 'prepared'}",
            f"--seed={seed}")  # fmt: skip
    rows = {}
    for name in ("direct", "prepared"):
        run = out / f"run-{name}"
        mindeye("run", "demo", f"--subject-dir={out / name}", f"--out={run}", "--until=evaluate",
                f"seed={seed}", "low_enabled=false")  # fmt: skip
        table = json.loads((run / "metrics.json").read_text())["rows"]
        rows[name] = {r["metric"]: r for r in table if r["system"] == "mindeye"}
    for metric in METRICS:
        for name, found in rows.items():
            row = found[metric]
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            print(f"{metric:22s} {name:9s} {row['value']:.3f} {interval}")


if __name__ == "__main__":
    main()
