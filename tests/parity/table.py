"""The table of parity results, printed at the end of a pytest run."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from parity.compare import Comparison

RESULTS: dict[str, list[Comparison]] = defaultdict(list)
"""Comparisons of the entries that passed, by kind; filled by tests/test_parity.py."""


def lines() -> list[str]:
    rows = [f"{'kind':24} {'entries':>7} {'compared':>8} {'max relative error':>18}"]
    for kind, found in sorted(RESULTS.items()):
        worst = max(comparison.max_error for comparison in found)
        compared = sum(comparison.compared for comparison in found)
        rows.append(f"{kind:24} {len(found):7d} {compared:8d} {worst:18.1e}")
    return rows


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if RESULTS:
        terminalreporter.section("parity with the published implementation")
        for line in lines():
            terminalreporter.write_line(line)
