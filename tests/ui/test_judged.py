"""Results of tasks that classify, tag and answer from a text, at two sizes; and a model that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.ui import fakes, judged_runs
from tests.ui.conftest import SIZES, Opened, below_verdict, text, until
from tests.ui.test_live_pane import HOSTILE
from tui_tuner.errors import RunError
from tui_tuner.evaluation.inside_text import join_marked_parts, read_shown_sample, split_marked_parts
from tui_tuner.launch.helper import Cancelled
from tui_tuner.runs.events import Evaluation, EvaluationTable, Sample
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.screens.ask import AskScreen, describe_answering
from tui_tuner.ui.screens.dialogs import PathDialog
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.run_list import format_run_line


async def results(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: "✓ completed" in text(pilot))
    await pilot.press("v")
    await below_verdict(pilot)
    await until(pilot, lambda: "Measured" in text(pilot) and "at step" in text(pilot))


def sides(pilot: Pilot[Any]) -> str:
    """The two answers that stand beside each other, one after the other, with one blank between words."""
    found = [pilot.app.screen.query_one(f".{side}", Fitted).content.plain for side in ("left", "right")]
    return " ".join(" ".join(found).split())


async def whole(pilot: Pilot[Any]) -> str:
    """All of a results screen, scrolled from its top to its end."""
    scroll = pilot.app.screen.query_one("#scroll")
    seen = [text(pilot)]
    for _unused in range(12):
        if scroll.scroll_y >= scroll.max_scroll_y:
            break
        scroll.scroll_page_down(animate=False)
        await pilot.pause(0.05)
        seen.append(text(pilot))
    return "\n".join(seen)


@pytest.mark.parametrize("size", SIZES)
async def test_classes_show_their_matrix_figures_and_probabilities(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = judged_runs.classified(store)
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "◆ accuracy" in text(pilot) and "0.8300 at 20" in text(pilot))
        await results(pilot)
        shown = await whole(pilot)
        assert "accuracy 0.2100 → 0.8000 ▲ 0.8300" in " ".join(shown.split())
        assert "Held-out rows at step 20" in shown  # the best, not the last
        line = next(line for line in shown.splitlines() if "Business" in line and "41█" in line)
        assert line.split("Business")[-1].split() == ["5░", "0", "41█", "4░"]
        assert ("before training" in line or "25▓" in line) == (size[0] >= 100)
        assert "Business                  90.00    83.00    85.00       50" in shown
        assert "✗ wrong" in shown and "✓ right" in shown and "91.2%" in shown
        assert "AutoModelForSequenceClassification.from_pretrained" in shown.replace("\n ", "")


@pytest.mark.parametrize("size", SIZES)
async def test_entities_stand_in_their_text_and_wrong_ones_have_a_sign(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = judged_runs.tagged(store)
    async with opened(size, open_run=folder) as pilot:
        await results(pilot)
        shown = " ".join((await whole(pilot)).split())
        for part in (
            "[Ann Smith]PER met",
            "[Bo]LOC✗PER",
            "[Paris]LOC✗",
            "[New York]LOC✗",
            "{New York City}LOC",
        ):
            assert part in sides(pilot), part
        assert "[right] [wrong]✗ {in the data, not found}" in shown
        assert "f1 0.00 → 91.00 ▲" in shown and "accuracy 0.0000 → 0.9100 ▲" in shown
        await pilot.press("l", "a")
        await until(pilot, lambda: "[Bo]LOC✗PER" in sides(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_answers_are_marked_in_their_text_with_the_next_best(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = judged_runs.answered(store)
    async with opened(size, open_run=folder) as pilot:
        await results(pilot)
        shown = " ".join((await whole(pilot)).split())
        assert "1 of 2 ←→" in shown
        answers = sides(pilot)
        await pilot.press("right")
        await until(pilot, lambda: "2 of 2 ←→" in text(pilot) or sides(pilot) != answers)
        answers += sides(pilot)
        assert "[Denver Broncos]" in answers and "{Denver Broncos}" in answers and "[Carolina]✗" in answers
        assert "91.3%" in answers and "(no answer)" in answers and "70.0%" in answers
        assert "exact match 4.50 → 81.90 ▲" in shown and "HasAns" in shown
        assert "--question '…'" in shown


async def test_of_many_classes_those_are_named_that_are_confused(store: RunStore, opened: Opened) -> None:
    names = [f"class {number}" for number in range(30)]
    counts: list[list[Any]] = [[10 if row == column else 0 for column in range(30)] for row in range(30)]
    counts[7][3], counts[2][9] = 6, 4
    folder, journal = judged_runs.begin(store, "many", "classification", "accuracy")
    fakes.step(journal, 1, 40)
    journal.emit(Evaluation(1, "validation", {"accuracy": 0.9}))
    journal.emit(EvaluationTable(1, "confusion", names, names, counts))
    judged_runs.finish(folder, journal)
    async with opened((80, 24), open_run=folder) as pilot:
        await results(pilot)
        shown = await whole(pilot)
        assert "30 classes; 300 rows are correct." in shown
        first, second = (shown.index(f"class {a} mistaken for class {b}") for a, b in ((7, 3), (2, 9)))
        assert first < second and "class 7 mistaken for class 3: 6 (38%)" in shown


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_tables_and_spans_break_nothing(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder, journal = judged_runs.begin(store, "hostile", "classification", "accuracy")
    fakes.step(journal, 1, 40)
    bad: list[Any] = [
        None,
        5,
        {"start": -4, "end": 99999},
        {"start": "a"},
        {"start": 0, "end": 3, "label": HOSTILE},
    ]
    for stage in ("before", "after"):
        journal.emit(
            Sample(
                1, 0, stage, HOSTILE, HOSTILE, HOSTILE, True, HOSTILE, bad, bad, [[HOSTILE, 0.5], 7, ["x"]]
            )
        )
    journal.emit(Evaluation(1, "validation", {"accuracy": float("nan")}))
    journal.emit(EvaluationTable(1, "confusion", [HOSTILE, None], [HOSTILE, "b"], [["x", None], 5]))
    journal.emit(EvaluationTable(1, HOSTILE, [HOSTILE], [HOSTILE], [[float("inf")]]))
    journal.emit(EvaluationTable(1, "classes", [], [], []))
    judged_runs.finish(folder, journal)
    async with opened(size, open_run=folder) as pilot:
        await results(pilot)
        shown = await whole(pilot)
        assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
        assert "␛" in shown


def test_the_list_of_runs_shows_what_a_run_is_judged_by(store: RunStore) -> None:
    from tui_tuner.ui.run_overview import read_run_row

    found = read_run_row(judged_runs.tagged(store))
    assert (found.metric, found.best) == ("f1", 0.91)
    assert "F1 91.00" in format_run_line(found, 78, judged=True).plain
    plain = fakes.make_run(store, "plain")
    fakes.write_run(plain, 20, 20, "completed")
    assert (
        read_run_row(plain).metric == ""
        and "F1" not in format_run_line(read_run_row(plain), 78, judged=True).plain
    )


class Request:
    """One answer of a helper process, whenever the test lets it come."""

    def __init__(self, arguments: dict[str, Any], progress: Any, answer: Any) -> None:
        self.arguments, self.answer, self.progress = arguments, answer, progress
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def wait_for_result(self) -> Any:
        import time

        self.progress({"doing": "loading"})
        while self.answer is None and not self.is_cancelled:
            time.sleep(0.01)
        if self.is_cancelled:
            raise Cancelled
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Helper:
    """Stands where `launch.helper.Helper` does; tests/core/tasks asks a real one."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[Request] = []
        self.rested = 0

    def prepare_request(self, operation: str, arguments: dict[str, Any], progress: Any) -> Request:
        assert operation == "ask"
        self.requests.append(Request(arguments, progress, self.answers.pop(0)))
        return self.requests[-1]

    def end_when_idle(self, operation: str) -> None:
        self.rested += 1

    def close(self) -> None:
        pass


@pytest.mark.parametrize("size", SIZES)
async def test_a_question_is_asked_cancelled_and_answered_inside_the_text(
    store: RunStore, opened: Opened, size: tuple[int, int], tmp_path: Path
) -> None:
    folder = judged_runs.answered(store)
    helper = Helper()
    words = "Ann bakes bread. Bo \x1b[31mplays\x1b[0m chess."
    file = tmp_path / "text.txt"
    file.write_text(words)
    at = words.index("chess")
    told = {"prompt": "What?", "text": "chess", "passage": words, "found": [{"start": at, "end": at + 5}],
            "scores": [["chess", 0.75], ["", 0.25]]}  # fmt: skip
    helper.answers = [None, RunError("has no model.", where="run"), told]
    async with opened(size, open_run=folder) as pilot:
        pilot.app._helper = helper
        await results(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))
        await pilot.press("f5")
        await until(pilot, lambda: "Type a question first." in text(pilot))
        pilot.app.screen.query_one(Input).value = "What does Bo play?"
        await pilot.press("f5")
        await until(pilot, lambda: "Type or paste a text first" in text(pilot))
        pilot.app.screen.query_one(TextArea).text = words
        await pilot.pause()
        assert pilot.app.screen.query_one(TextArea).text == "Ann bakes bread. Bo [31mplays[0m chess."
        await pilot.press("f5")
        await until(pilot, lambda: "Loading the model…" in text(pilot) and "esc Cancel" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "Cancelled." in text(pilot) and "esc Back" in text(pilot))
        await pilot.press("f5")
        await until(pilot, lambda: "run: has no model." in text(pilot))
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(pilot.app.screen, PathDialog))
        await pilot.press(*"none", "enter")
        await until(pilot, lambda: "cannot be read" in text(pilot))
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(pilot.app.screen, PathDialog))
        pilot.app.screen.query_one(Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: f"{len(words)} characters" in " ".join(text(pilot).split()))
        await pilot.press("f5")
        await until(pilot, lambda: "[chess]" in text(pilot) and "75.0%" in text(pilot))
        assert helper.requests[-1].arguments["text"] == words
        assert helper.requests[-1].arguments["question"] == "What does Bo play?"
        assert RunFolder(Path(helper.requests[-1].arguments["run"])).name == "answers"
        assert "(no answer)" in text(pilot) and "\x1b" not in text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "Measured" in text(pilot))
        assert helper.rested == 1


def test_a_model_that_is_asked_comes_with_a_count() -> None:
    told = {"name": "acme/tiny", "done": 1_500_000, "total": 3_000_000}
    assert describe_answering({"doing": "fetching", **told}) == "Fetching acme/tiny: 1.4 MiB of 2.9 MiB…"
    assert describe_answering({"doing": "fetching", "name": "acme/tiny"}) == "Asking the hub for acme/tiny…"
    told = {"name": "small · best", "done": 1000, "total": 2000}
    assert describe_answering({"doing": "loading", **told}) == "Loading small · best: 1,000 of 2,000 weights…"
    assert describe_answering({"doing": "loading"}) == "Loading the model…"


async def test_a_run_that_writes_text_cannot_be_asked_by_key(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "writes")
    fakes.write_run(folder, 40, 40, "completed")
    folder.last_path.mkdir()
    async with opened(open_run=folder) as pilot:
        await results(pilot)
        await pilot.press("a")
        await pilot.pause()
        assert "a Ask" not in text(pilot) and not isinstance(pilot.app.screen, AskScreen)


def test_lines_and_screens_write_the_same_marks() -> None:
    shown = read_shown_sample(
        {"passage": judged_runs.SENTENCE, "found": [{"start": 0, "end": 9, "label": "PER"}], "wanted": []}
    )
    assert join_marked_parts(split_marked_parts(shown, judged=False)).startswith("[Ann Smith]PER met Bo")
    assert join_marked_parts(split_marked_parts(shown)).startswith("[Ann Smith]PER✗ met Bo")
