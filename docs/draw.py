"""Make the pictures again:  .venv/bin/python -m docs.draw

The circle is drawn by a function. Pages are shown by a headless Chromium; where there is none they are left as they
are, and that is said.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from docs import png
from docs.circle import circle
from docs.pages import Shot, failover, lost_region, readiness

PICTURES: Final = Path(__file__).parent / "pictures"
CIRCLE: Final = PICTURES / "circle.svg"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
SHOT_S: Final = 60.0


def browser() -> str | None:
    """A Chromium on the PATH; None: there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name)) is not None), None)


def shoot(chromium: str, shot: Shot) -> bytes:
    """A page as the browser shows it, as a small PNG. Raises CalledProcessError, TimeoutExpired."""
    with tempfile.TemporaryDirectory(prefix="tidegate-page-") as folder:
        page, out = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(shot.html, encoding="utf-8")
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={shot.width},{shot.height}",
            f"--screenshot={out}",
            page.as_uri(),
        ]
        subprocess.run(command, check=True, timeout=SHOT_S, capture_output=True)
        return png.write(png.read(out.read_bytes()))


def main() -> int:
    """All of them."""
    PICTURES.mkdir(exist_ok=True)
    CIRCLE.write_text(circle(), encoding="utf-8")
    sys.stdout.write(f"made       {CIRCLE}\n")
    chromium = browser()
    if chromium is None:
        sys.stdout.write(f"left       the pages: none of {', '.join(BROWSERS)} is on the PATH\n")
        return 0
    shots = {"readiness": asyncio.run(readiness()), "failover": failover(), "lost-region": lost_region()}
    for name, shot in shots.items():
        path = PICTURES / f"{name}.png"
        path.write_bytes(shoot(chromium, shot))
        sys.stdout.write(f"made       {path}, {path.stat().st_size // 1024} KiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
