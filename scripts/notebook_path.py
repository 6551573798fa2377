"""Run the lines of the front page on a finished demo and compare with what its stages wrote.

python scripts/notebook_path.py demo [--refit]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import mindeye


def main() -> None:
    """Predict, draw, retrieve and score from Python; print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished `mindeye demo`")
    parser.add_argument("--refit", action="store_true", help="train again instead of loading")
    given = parser.parse_args()
    subject = mindeye.load_subject(given.run / "subject")
    if given.refit:
        decoder = mindeye.BrainDecoder(encoder="zoo").fit(subject)
        low = mindeye.LowLevelDecoder(encoder="zoo").fit(subject)
    else:
        decoder = mindeye.BrainDecoder.load(given.run)
        low = mindeye.LowLevelDecoder.load(given.run)
    seen = decoder.predict(subject.betas_of("test"), ids=subject.splits["test"])
    differs(seen.tokens, given.run / "predict" / "backbone.npy")
    differs(seen.retrieval, given.run / "predict" / "contrastive.npy")
    table = mindeye.retrieve(seen, (decoder.embed(subject.pictures_of("test")), seen.ids))
    first = table[table["rank"] == 0]
    print(f"first is right: {(first['query'] == first['id']).mean():.6f}")
    drawn = mindeye.Reconstructor(generator="zoo", low_level=low).draw(seen)
    differs(drawn, given.run / "reconstruct" / "both.npy")
    scores = mindeye.evaluate(drawn, subject.pictures_of("test"), networks=["zoo"])
    run = pd.read_csv(given.run / "metrics.csv")
    both = run[run["system"] == "both"].set_index("metric")["value"]
    for _, row in scores.iterrows():
        if row["metric"] in both:
            print(f"{row['metric']}: {row['value']!r} here, {both[row['metric']]!r} in the run")


def differs(found: np.ndarray, path: Path) -> None:
    """Print the largest difference from a file of the run."""
    stored = np.load(path)
    largest = np.abs(found.astype(np.float64) - stored.astype(np.float64)).max()
    print(f"{path.parent.name}/{path.name}: largest difference {largest}")


if __name__ == "__main__":
    main()
