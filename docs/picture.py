"""Makes `docs/live-pane.svg` from the real app: `python docs/picture.py RUN_FOLDER`, while the run is on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.app import TunerApp

SIZE = (100, 32)
SECONDS = 4.0  # for the journal to be read and the charts to be drawn


async def picture(folder: Path, target: Path) -> None:
    """Attach to a run, as `tui-tuner attach` does, and save what the screen shows."""
    app = TunerApp(RunStore(folder.parent), open_run=RunFolder(folder))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(SECONDS)
        await pilot.press("a")
        await pilot.pause(1.5)
        target.write_text(app.export_screenshot(title="tui-tuner"), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(picture(Path(sys.argv[1]), Path(__file__).with_name("live-pane.svg")))
