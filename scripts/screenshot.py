"""Photograph a part of a report for the README.

    python scripts/screenshot.py demo/report.html docs/images/demo.png --top 780 --height 620

Needs Debian's chromium and the extra `test`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    """Parse the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    flags = parser.parse_args()
    flags.picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=flags.browser, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": flags.width, "height": 1000})
        page.goto(flags.report.resolve().as_uri())
        clip = {"x": 0, "y": flags.top, "width": flags.width, "height": flags.height}
        page.screenshot(path=str(flags.picture), full_page=True, clip=clip)
        browser.close()


if __name__ == "__main__":
    main()
