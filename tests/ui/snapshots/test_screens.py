"""Every screen at 80x24 and at 120x40, as it was when somebody last looked and agreed.

`pytest tests/ui/snapshots --update-snapshots` (or `make snapshots`) keeps them as they are now; what has
changed stands in the difference of the version control, as text.
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
from tests.ui.snapshots.picture import Picture, cut_sentences, difference, faults
from tests.ui.snapshots.scenes import SCENES
from tests.ui.snapshots.stage import Stage, stage

KEPT = Path(__file__).parent / "kept"
# What screens are made of: nobody sees one of these by itself
BASES = {
    *("TunerScreen", "RowsScreen", "FixingScreen", "ModelLookups", "FetchingScreen", "EditingForm"),
    *(
        "Zooms",
        "LongWorks",
        "HelperScreen",
        "AnsweringScreen",
        "MarkingScreen",
        "MembersScreen",
        "SectionsForm",
        "Question",
        "FixableQuestion",
    ),
}

for _module in pkgutil.iter_modules(scenes.__path__):
    importlib.import_module(f"{scenes.__name__}.{_module.name}")


def kept_file(name: str, size: tuple[int, int]) -> Path:
    return KEPT / f"{size[0]}x{size[1]}" / f"{name}.txt"


@pytest.mark.parametrize("name", SCENES)
async def test_a_screen_is_as_it_was_kept(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with stage(SIZES[0], monkeypatch) as here:
        pictures, faulty = await _pictures(name, here)
    changed = []
    for size, shown in pictures.items():
        file, now = kept_file(name, size), shown.kept()
        if request.config.getoption("--update-snapshots"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(now, encoding="utf-8")
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if before != now:
            changed.append(f"{file.relative_to(KEPT.parent)}\n{difference(before, now)}")
    if changed:
        how = f"If it should be so, keep it: pytest tests/ui/snapshots -k {name} --update-snapshots"
        pytest.fail("\n\n".join([how, *changed]), False)
    assert not faulty, "\n".join(faulty)


async def _pictures(name: str, here: Stage) -> tuple[dict[tuple[int, int], Picture], list[str]]:
    """A scene at each size, and what is wrong with any screen that looks like this."""
    found = SCENES[name]
    pictures, faulty = {}, []
    async with found.play(here) as pilot:
        for size in SIZES:
            await pilot.resize_terminal(*size)
            pictures[size] = await here.look(pilot)
            assert type(pilot.app.screen).__name__ == found.shows
            faulty += faults(pictures[size], size[0]) + _footer_faults(pilot)
            faulty += cut_sentences(pilot, pictures[size])
    return pictures, faulty


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


@pytest.mark.parametrize("name", ["home_with_runs", "plan_memory"])
async def test_the_light_theme_says_the_same_with_its_own_colours(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.ui.preferences import save_preferences
    from tui_tuner.ui.themes import LIGHT

    with stage(SIZES[0], monkeypatch) as here:
        save_preferences(theme=LIGHT)
        pictures, _faulty = await _pictures(name, here)
    for size, shown in pictures.items():
        assert difference(kept_file(name, size).read_text(encoding="utf-8"), shown.kept()) == ""


@pytest.mark.parametrize("name", ["home_with_runs", "run_done"])
async def test_without_colour_the_same_words_are_grey(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(SIZES[0], monkeypatch) as here:
        monkeypatch.setenv("NO_COLOR", "1")
        pictures, _faulty = await _pictures(name, here)
    for size, shown in pictures.items():
        words = kept_file(name, size).read_text(encoding="utf-8").partition("-- marks")[0]
        assert difference(words, shown.kept().partition("-- marks")[0]) == ""
        assert all(red == green == blue for red, green, blue in shown.colours), shown.colours
