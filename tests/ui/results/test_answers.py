"""Answers beside each other, in the live pane and among the results."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, below_verdict, text, until
from tui_tuner.runs.events import Evaluation, Sample
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.widgets.judged.fitted_text import Fitted

LONG = " ".join(f"word{number}" for number in range(1400))
ODD = {
    "chinese": ("红色的羊毛外套很暖和", "蓝色的羊毛外套很长"),
    "arabic": ("معطف أحمر من الصوف", "معطف أزرق من الحرير"),
    "control": ("\x1b[2Jgone\x07 \u202eevil\x9b31m", "\x00\x1b]52;c;aGk=\x07"),
    "long": (LONG, LONG + " and one more"),
    "empty": ("", "  \n "),
}


def answered(store: RunStore, name: str, prompts: dict[str, tuple[str, ...]]) -> RunFolder:
    """A run that answered prompts before, in the middle and after; each with as many answers as are given."""
    folder = fakes.make_run(store, name)
    journal = JournalWriter(folder.events_path, name)
    fakes.begin(journal, 40)
    for place, (stage, step) in enumerate((("before", 0), ("during", 20), ("after", 40))):
        for number in range(step - 19 if step else 1, step + 1):
            fakes.step(journal, number, 40)
        for index, (prompt, texts) in enumerate(prompts.items()):
            said = texts[place] if len(texts) == 3 else texts[min(place, 1)]
            journal.emit(
                Sample(step, index, stage, prompt, said, f"reference of {prompt}", stage != "before")
            )
        journal.emit(Evaluation(step, "validation", {"loss": 3.0 - step / 20}))
    fakes.finish(journal)
    journal.close()
    return folder


def side(pilot: Pilot[Any], name: str) -> str:
    return pilot.app.screen.query_one(f".{name}", Fitted).content.plain


def underlined(pilot: Pilot[Any]) -> str:
    """What is underlined on the screen."""
    strips = pilot.app.screen._compositor.render_strips()
    return " ".join(part.text for strip in strips for part in strip if part.style and part.style.underline)


async def test_a_run_that_answered_nothing_says_so_once_it_has_ended(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "silent")
    journal = JournalWriter(folder.events_path, "silent")
    fakes.begin(journal, 4)
    fakes.step(journal, 1, 4)
    async with opened((80, 24), open_run=folder) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: "No answers yet." in text(pilot))
        fakes.finish(journal)
        await until(pilot, lambda: "This run answered no prompts." in text(pilot))
    journal.close()


COATS = {
    "a coat": ("of of the and", "a red coat", "a long red coat of wool"),
    "a flute": ("flute " * 214, LONG, "a flute of silver"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", ["a", "v"], ids=["live", "results"])
async def test_two_answers_stand_beside_each_other_with_what_differs_marked(
    store: RunStore, opened: Opened, size: tuple[int, int], key: str
) -> None:
    folder = answered(store, "coats", COATS)
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press(key)
        if key == "v":
            await below_verdict(pilot)
        await until(pilot, lambda: "before training" in text(pilot) and "wool" in text(pilot))
        line = next(line for line in text(pilot).split("\n") if "of of the and" in line)
        assert "a long red coat" in line and line.index("of of the and") < line.index("a long red")
        assert "1 of 2" in text(pilot) and "a coat" in text(pilot)
        assert "of the and" in underlined(pilot) and "long red coat" in underlined(pilot)
        await pilot.press("full_stop", "full_stop")  # the data's own answer, then that of step 20
        await until(pilot, lambda: "at step 20" in text(pilot))
        assert "red coat" in side(pilot, "right") and "wool" not in side(pilot, "right")
        await pilot.press("comma")  # passes over what stands at the right
        await until(pilot, lambda: "wool" in side(pilot, "left"))
        assert "long" in underlined(pilot) and "red coat" not in underlined(pilot)
        await pilot.press("f")
        await until(pilot, lambda: "reference of a coat" in side(pilot, "right"))
        await pilot.press("f")
        await until(pilot, lambda: "a red coat" in side(pilot, "right"))


@pytest.mark.parametrize("key", ["a", "v"], ids=["live", "results"])
async def test_repeats_are_folded_long_answers_cut_and_opened_by_a_key(
    store: RunStore, opened: Opened, key: str
) -> None:
    folder = answered(store, "flutes", COATS)
    async with opened((80, 24), open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press(key)
        if key == "v":
            await below_verdict(pilot)
        await until(pilot, lambda: "1 of 2" in text(pilot))
        await pilot.press("right", "full_stop", "full_stop", "z")
        await until(pilot, lambda: "2 of 2" in text(pilot) and "flute ×214" in text(pilot))
        assert "more characters" in text(pilot) and "word1399" not in side(pilot, "right")
        assert text(pilot).split("\n")[-1].strip().startswith("esc")  # the footer stays
        await pilot.press("w")
        await until(pilot, lambda: "word1399" in side(pilot, "right") and "flute flute" in text(pilot))
        await pilot.press("end")
        await until(pilot, lambda: "word1399" in text(pilot))
        await pilot.press("w", "escape")
        await until(pilot, lambda: pilot.app.screen.maximized is None)
        assert side(pilot, "left").count("flute") == 1


@pytest.mark.parametrize("size", [(80, 24), (50, 18)])
async def test_odd_answers_break_nothing(store: RunStore, opened: Opened, size: tuple[int, int]) -> None:
    folder = answered(store, "odd", {prompt: texts for prompt, texts in ODD.items()})
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("a", "z")
        for number, (before, _after) in enumerate(ODD.values(), 1):
            await until(pilot, lambda number=number: f"{number} of {len(ODD)}" in text(pilot))
            assert not {"\x1b", "\x07", "\u202e", "\x9b", "\x00"} & set(text(pilot))
            if before.strip() and before.isprintable():
                assert side(pilot, "left").split("\n", 1)[1][:4] == before[:4]
            await pilot.press("w", "f", "f", "right")
        await until(pilot, lambda: f"1 of {len(ODD)}" in text(pilot))  # around the end


async def test_of_two_hundred_prompts_one_is_laid_out(store: RunStore, opened: Opened) -> None:
    folder = answered(store, "many", {f"prompt {number}": ("no", "yes") for number in range(200)})
    async with opened((80, 24), open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "1 of 200" in text(pilot))
        assert len(pilot.app.screen.query(Fitted)) < 7
        await pilot.press("left", "shift+left")
        await until(pilot, lambda: "190 of 200" in text(pilot) and "prompt 189" in text(pilot))


async def test_answers_that_come_in_leave_what_one_reads(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "live")
    journal = JournalWriter(folder.events_path, "live")
    fakes.begin(journal, 40)
    fakes.samples(journal, 0, "before")
    async with opened((80, 24), open_run=folder) as pilot:
        await pilot.press("a", "right")
        await until(pilot, lambda: "2 of 2" in text(pilot) and "of of the and" in text(pilot))
        fakes.step(journal, 1, 40)
        fakes.samples(journal, 1, "during")
        await until(pilot, lambda: "at step 1" in text(pilot) and "A red coat" in text(pilot))
        assert "2 of 2" in text(pilot) and "lamp" in text(pilot)
        journal.close()
