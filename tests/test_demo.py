"""The demo: small and fast, and (slow) at full size against the bars it is known to reach."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mindeye.commands.demo import run_demo
from mindeye.config.settings import run_config
from mindeye.errors import ConfigError
from mindeye.files import read_json
from small_simulation import SMALL
from test_pipeline import PIXELS

Rows = dict[tuple[str, str], dict[str, Any]]


def table(folder: Path) -> Rows:
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    return {(row["metric"], row["system"]): row for row in rows}


def test_the_demo_makes_its_subject_and_its_page_and_skips_both_the_second_time(
    tmp_path: Path,
) -> None:
    config = run_config({}, PIXELS)
    page = run_demo(tmp_path / "demo", config, SMALL)
    assert page.is_file()
    made = tmp_path / "demo" / "subject" / "subject.json"
    stamps = {p: p.stat().st_mtime_ns for p in (page, made)}
    run_demo(tmp_path / "demo", config, SMALL)
    assert stamps == {p: p.stat().st_mtime_ns for p in (page, made)}
    with pytest.raises(ConfigError, match="another seed"):
        run_demo(tmp_path / "demo", run_config({}, [*PIXELS, "seed=5"]), SMALL)


@pytest.mark.slow
def test_the_demo_reaches_its_bars(tmp_path: Path) -> None:
    """Retrieval near the ideal observer and above ridge; `both` better than `high` and `low`."""
    words = ["demo", f"--out={tmp_path / 'demo'}", "--seed=1"]
    subprocess.run([sys.executable, "-m", "mindeye", *words], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    assert peak <= 6, f"peak memory {peak:.1f} GB"
    rows = table(tmp_path / "demo")
    metric = "brain_to_image_top1"
    mindeye, ridge = rows[metric, "mindeye"], rows[metric, "ridge"]
    ideal = rows[metric, "ideal_observer"]["value"]
    assert ideal > 0.97
    assert 0.15 <= ridge["value"] <= 0.60
    assert mindeye["value"] >= 0.80 * ideal
    assert mindeye["value"] >= 1.3 * ridge["value"]
    for row in rows.values():
        if row["metric"] == metric or row["metric"].startswith("two_way"):
            assert row["floor_low"] <= row["chance"] <= row["floor_high"], row
    assert rows["PixCorr", "both"]["value"] >= rows["PixCorr", "high"]["value"] + 0.10
    two_way = "two_way_zoo_clip"
    assert rows[two_way, "both"]["value"] >= rows[two_way, "low"]["value"] + 0.10
    first = (tmp_path / "demo" / "metrics.json").read_bytes()
    words[1] = f"--out={tmp_path / 'again'}"
    subprocess.run([sys.executable, "-m", "mindeye", *words], check=True)
    assert (tmp_path / "again" / "metrics.json").read_bytes() == first
    assert read_json(tmp_path / "demo" / "report" / "stage.json")["key"]
