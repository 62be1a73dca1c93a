"""Every screen at 80x24 and at 120x40, as it was when somebody last looked and agreed.

`pytest tests/ui/snapshots --update-snapshots` (or `make snapshots`) keeps them as they are now; what has changed
stands in the difference of the version control, as text.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets._footer import FooterKey

import tui_tuner.ui
from tests.ui.conftest import SIZES
from tests.ui.snapshots import scenes
from tests.ui.snapshots.picture import Picture, difference, faults
from tests.ui.snapshots.scenes import SCENES
from tests.ui.snapshots.stage import Stage, stage

KEPT = Path(__file__).parent / "kept"
# Screens that others are made of: nobody sees one of these
BASES = {"TunerScreen", "RowsScreen", "MendingScreen", "Zooms"}

for _module in pkgutil.iter_modules(scenes.__path__):
    importlib.import_module(f"{scenes.__name__}.{_module.name}")


def kept_file(name: str, size: tuple[int, int]) -> Path:
    return KEPT / f"{size[0]}x{size[1]}" / f"{name}.txt"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCENES)
async def test_a_screen_is_as_it_was_kept(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with stage(size, monkeypatch) as here:
        shown, faulty = await _shown(name, here)
    file = kept_file(name, size)
    now = shown.kept()
    if request.config.getoption("--update-snapshots"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(now, encoding="utf-8")
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before != now:
        how = "If it should be so, keep it: pytest tests/ui/snapshots --update-snapshots"
        pytest.fail(
            f"{file.name} at {size[0]}x{size[1]} has changed. {how}\n{difference(before, now)}", False
        )
    assert not faulty, "\n".join(faulty)


async def _shown(name: str, here: Stage) -> tuple[Picture, list[str]]:
    """The picture of a scene, and what is wrong with any screen that looks like this."""
    found = SCENES[name]
    async with found.play(here) as pilot:
        shown = await here.look(pilot)
        assert type(pilot.app.screen).__name__ == found.shows
        return shown, faults(shown, here.size[0]) + _footer_faults(pilot)


def _footer_faults(pilot: Pilot[Any]) -> list[str]:
    """Keys of the footer that are cut off."""
    width = pilot.app.size.width
    return [
        f"the footer has no room for {key.key_display} {key.description}"
        for key in pilot.app.screen.query(FooterKey)
        if key.region.right > width
    ]


def _screens() -> set[str]:
    """Names of all screens of the app."""
    for module in pkgutil.walk_packages(tui_tuner.ui.__path__, "tui_tuner.ui."):
        importlib.import_module(module.name)
    found: set[str] = set()
    waiting: list[type] = [Screen]
    while waiting:
        for made in waiting.pop().__subclasses__():
            waiting.append(made)
            if made.__module__.startswith("tui_tuner.ui."):
                found.add(made.__name__)
    return found


def test_every_screen_has_a_scene() -> None:
    shown = {found.shows for found in SCENES.values()}
    missing = sorted(_screens() - shown - BASES)
    assert not missing, f"make scenes of these in {scenes.__name__}: {', '.join(missing)}"


def test_every_kept_file_has_a_scene() -> None:
    named = {kept_file(name, size) for name in SCENES for size in SIZES}
    assert not set(KEPT.rglob("*.txt")) - named


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["home_with_runs", "help_at_home"])
async def test_the_light_theme_says_the_same_with_its_own_colours(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.ui.preferences import remember
    from tui_tuner.ui.themes import LIGHT

    with stage(size, monkeypatch) as here:
        remember(theme=LIGHT)
        shown, _faulty = await _shown(name, here)
    assert difference(kept_file(name, size).read_text(encoding="utf-8"), shown.kept()) == ""


@pytest.mark.parametrize("name", ["home_with_runs", "help_at_home"])
async def test_without_colour_the_same_words_are_grey(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = SIZES[0]
    with stage(size, monkeypatch) as here:
        monkeypatch.setenv("NO_COLOR", "1")
        shown, _faulty = await _shown(name, here)
    words = kept_file(name, size).read_text(encoding="utf-8").partition("-- marks")[0]
    assert difference(words, shown.kept().partition("-- marks")[0]) == ""
    assert all(red == green == blue for red, green, blue in shown.colours), shown.colours
