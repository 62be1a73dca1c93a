"""Question 2: the data. Lists the files of the working folder, and shows how their rows are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import OptionList
from textual.worker import get_current_worker

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.guiding.goals import find_goal_of_task
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.form_values import set_draft_value
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_block, mark_placeholder_value
from tui_tuner.ui.screens.guide.data_findings import DataFindings, examine_data
from tui_tuner.ui.screens.guide.data_fixes import FixableQuestion
from tui_tuner.ui.screens.guide.guide_walk import Walk
from tui_tuner.ui.start_checking import Refusal
from tui_tuner.ui.widgets.paths.folder_listing import DATA_SUFFIXES, fold_home, is_no_local_path

OTHER, NONE = "other", "none"
_FILE = "file "
_RECENT = 3
_REST = 0.15  # seconds that the cursor rests on a file before it is read


@dataclass(frozen=True)
class _Candidate:
    """A line of the list: a path, with its size in bytes (0 if unknown)."""

    path: str
    size: int = 0
    recent: bool = False


class FilesListed(Message):
    """The files of the working folder are known; `recent` are those of earlier sessions."""

    def __init__(self, recent: list[str]) -> None:
        super().__init__()
        self.recent = recent


class DataSeen(Message):
    """The findings about a path, for a task; sent again as more is known."""

    def __init__(self, path: str, task: str, seen: DataFindings) -> None:
        super().__init__()
        self.path, self.wanted, self.seen = path, task, seen

    def can_replace(self, message: Message) -> bool:
        # A newer finding about the same data includes what the older ones said.
        return isinstance(message, DataSeen) and message.path == self.path and message.wanted == self.wanted


class DataQuestion(FixableQuestion):
    """A line for each file; below, how it is read, and problems with it."""

    PLACE: ClassVar[int] = 2
    HELP_TEXT = _(
        "Enter chooses the file under the cursor. Its first rows are shown below as they are read: turns of "
        "a chat, a text and its class, and so on.\n"
        "o chooses another file or folder, or a data set of a hub by its name; n shows what you can do "
        "without data: fill in an example file, write rows here, or use the demo's rows.\n"
        "Problems with the data are listed below; F4 offers fixes, F5 switches to the goal that fits the "
        "rows.\n"
        "Good examples matter more than many."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "other", _("Other file")),
        Binding("n", "no_data", _("No data")),
        Binding("f4", "mend", _("Fix")),
        Binding("f5,k", "other_task", _("Change goal")),
    ]

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._recent: list[str] = []
        self._around = False  # the files of the working folder are known
        self._timer: Timer | None = None
        self._added: list[str] = []  # paths chosen on this screen, newest first

    def question_text(self) -> str:
        return _("Which data should the model learn from?")

    def explain_question(self) -> str:
        from tui_tuner.guiding.amounts import describe_example_numbers

        goal = self.walk.chosen_goal
        needs = _(goal.needed_rows) if goal is not None and goal.needed_rows else _("examples")
        return _(
            "A file, or a folder of files, with {rows}. {numbers}",
            rows=mark_placeholder_value(needs, "bold"),
            numbers=describe_example_numbers(self.walk.task_name),
        )

    def list_title(self) -> str:
        return _("Data")

    def on_mount(self) -> None:
        if self.walk.answers.data and "data" in self.walk.chosen:
            self._added.append(self.walk.answers.data)
        self._look_around()

    # What there is

    @work(thread=True, group="around", exclusive=True)
    def _look_around(self) -> None:
        from tui_tuner.ui.recent_paths import list_recent_paths

        worker = get_current_worker()
        self.walk.look_around(lambda: worker.is_cancelled)
        found = list_recent_paths("data")
        if not worker.is_cancelled:
            self.post_message(FilesListed(found))

    @on(FilesListed)
    def _take_files(self, message: FilesListed) -> None:
        self._around, self._recent = True, message.recent
        self.draw_answers()
        self.continue_waiting()

    def work_failed(self, group: str, words: str) -> None:
        if group == "around":
            self.post_message(FilesListed([]))
        elif group == "see":
            place = self._path_under_cursor
            if place:
                self.post_message(
                    DataSeen(place, self.walk.task_name, DataFindings(refusal=Refusal("", words)))
                )

    def _list_candidates(self) -> list[_Candidate]:
        """Return the listed data: chosen here, fitting the task, other files here, recent ones."""
        files = self.walk.files or ()
        task = self.walk.task_name
        fitting = [one for one in files if one.is_for_task(task)]
        others = [one for one in files if not one.is_for_task(task)]
        found = [_Candidate(path) for path in self._added]
        found += [_Candidate(one.path, one.size) for one in (*fitting, *others)]
        here = {os.path.abspath(place.path) for place in found}
        # Recent files of this folder are listed already, so only those from elsewhere are added.
        before = [
            path for path in self._recent if path not in here and not path.startswith(os.getcwd() + "/")
        ]
        found += [_Candidate(fold_home(path), 0, True) for path in before[:_RECENT]]
        kept: dict[str, _Candidate] = {}
        for place in found:
            # A file can be listed under several spellings; the first one stays.
            kept.setdefault(os.path.abspath(os.path.expanduser(place.path)), place)
        return list(kept.values())

    def draw_answers(self, at: str = "") -> None:
        """Draw the list; move the cursor to `at`, if it is given."""
        if not self._around:
            return
        lines = [
            (_FILE + place.path, self._candidate_line(place, self.answer_width))
            for place in self._list_candidates()
        ]
        more = (
            (OTHER, "o", _("another file, a folder, or a data set of a hub …")),
            (NONE, "n", _("I have no data yet …")),
        )
        for id, key, words in more:
            lines.append((id, Content.assemble((f"{key}  ", "$accent"), words)))
        # Only with the first list: later ones keep the cursor where the user has it.
        if not self.answer_list.options:
            at = at or self._first_answer(lines)
        self.show_answers(lines, at)

    def _first_answer(self, lines: list[tuple[str, Content]]) -> str:
        """Return the first line under the cursor: the earlier answer, a fitting file, or "no data"."""
        if self._added:
            return _FILE + self._added[-1]
        task = self.walk.task_name
        best = next((one for one in self.walk.files or () if one.is_for_task(task)), None)
        if best is not None:
            return _FILE + best.path
        return NONE if len(lines) == 2 else lines[0][0]

    def _candidate_line(self, place: _Candidate, width: int) -> Content:
        known = next((one for one in self.walk.files or () if one.path == place.path), None)
        size = format_bytes(place.size) if place.size else ""
        names = min(34, width // 2)
        name = f"↺ {place.path}" if place.recent else place.path
        words, colour = size, "$dim"
        if known is not None and known.is_for_task(self.walk.task_name):
            words, colour = f"✓ {size:>9}  {known.rows_words}", "$success"
        elif known is not None and known.task:
            words = f"· {size:>9}  {known.rows_words}"
        elif known is not None:
            words, colour = f"✗ {size:>9}  {one_line(known.problem)}", "$error"
        return Content.assemble(
            (fit_screen_column(name, names - 1), "bold"),
            " ",
            (words[:1], colour),
            (fit_screen_column(words[1:], width - names - 1), "$dim"),
        )

    # What is in it

    @property
    def _path_under_cursor(self) -> str:
        """Return the path under the cursor; empty on a line without one."""
        return self.chosen_id.removeprefix(_FILE) if self.chosen_id.startswith(_FILE) else ""

    @property
    def seen_data(self) -> DataFindings | None:
        """Return the findings about the data under the cursor."""
        return self.walk.seen.get((self._path_under_cursor, self.walk.task_name))

    def draft_values(self) -> dict[str, Any]:
        """Return the draft for the data under the cursor."""
        values: dict[str, Any] = {}
        for field, value in {**self.walk.config_values(), "data.path": self._path_under_cursor}.items():
            set_draft_value(values, field, value)
        return values

    @property
    def shown_refusal(self) -> Refusal | None:
        seen = self.seen_data
        return (seen.refusal or seen.better) if seen is not None else None

    def describe_work(self) -> str:
        if not self._around:
            count, of = self.walk.counted
            return _("reading the files here: {count} of {of}", count=count, of=of)
        seen = self.seen_data
        if self._path_under_cursor and seen is None:
            return _("reading the first rows")
        if seen is not None and seen.busy:
            return seen.busy
        return ""

    @on(OptionList.OptionHighlighted, "#answers")
    def _see_later(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.refresh_bindings()
        if self._path_under_cursor and self.seen_data is None:
            # Moving through a list of large files must not start to read each of them.
            self._timer = self.set_timer(_REST, self._see_if_unknown)

    def _see_if_unknown(self) -> None:
        if self._path_under_cursor and self.seen_data is None:
            self._see_in_thread(self._path_under_cursor, self.walk.task_name, dict(self.walk.answers.more))

    @work(thread=True, group="see", exclusive=True)
    def _see_in_thread(self, path: str, task: str, more: Mapping[str, Any]) -> None:
        worker = get_current_worker()

        def post_seen(seen: DataFindings) -> None:
            if not worker.is_cancelled:
                self.post_message(DataSeen(path, task, seen))

        examine_data(path, task, more, post_seen, lambda: worker.is_cancelled)

    @on(DataSeen)
    def _take_seen(self, message: DataSeen) -> None:
        self.walk.seen[(message.path, message.wanted)] = message.seen
        task = self.walk.task_name
        if message.path == self._path_under_cursor and message.wanted == task:
            self.show_about()
            self.refresh_bindings()
            self.continue_waiting()

    def render_about(self, chosen: str) -> Content:
        if chosen == OTHER:
            return make_safe_block(
                _(
                    "Files can be JSON, JSON Lines, CSV, Parquet, plain text and more; the layout of their "
                    "rows is recognised. Name a data set of a hub as on its page, such as owner/name."
                )
            )
        if chosen == NONE:
            return make_safe_block(
                _(
                    "Fill in an example file, write a few rows here, or try everything out with the rows of "
                    "the demo."
                )
            )
        seen = self.seen_data
        if seen is None:
            return (
                Content(_("Reading the first rows…")).stylize("$dim")
                if self._path_under_cursor
                else Content("")
            )
        return seen.render_findings(max(40, self.size.width - 4), self.size.height)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "mend":
            seen = self.seen_data
            return bool(
                seen is not None and (seen.setting_fixes or (seen.refusal and seen.refusal.is_fixable))
            )
        if action == "other_task":
            return self.other_task_values is not None
        return True

    def accept_answer(self, chosen: str) -> None:
        seen = self.seen_data
        if self._path_under_cursor and (seen is None or not seen.is_unusable):
            self._take_data_path(self._path_under_cursor)
            return
        # Keys typed ahead were meant for the next question, and this answer leads elsewhere.
        self.walk.ahead.clear()
        if chosen == OTHER:
            self.action_other()
        elif chosen == NONE:
            self.action_no_data()
        else:
            self.action_mend()

    def _take_data_path(self, path: str) -> None:
        from tui_tuner.ui.screens.guide.model_question import ModelQuestion

        # Later answers were given for other rows.
        if path != self.walk.answers.data:
            self.walk.begin_again_after("data")
        self.walk.set_answers(data=path)
        self.keep_answers()
        self.app.push_screen(ModelQuestion(self.walk))

    def action_other(self) -> None:
        """Choose any file or folder, or a data set of a hub."""
        from tui_tuner.ui.screens.file_dialog import FileDialog

        self.app.push_screen(
            FileDialog(_("Data"), suffixes=DATA_SUFFIXES, folders=True, unseen=is_no_local_path),
            self._chosen_other,
        )

    def _chosen_other(self, path: str | None) -> None:
        if path:
            self.add_path(_make_relative(path))

    def add_path(self, path: str) -> None:
        """Add data to the list, and move the cursor there."""
        self._added = [path, *(one for one in self._added if one != path)]
        self.draw_answers(_FILE + path)

    def action_no_data(self) -> None:
        """Open the question for users without data."""
        from tui_tuner.ui.screens.guide.no_data import NoDataQuestion

        self.app.push_screen(NoDataQuestion(self.walk, self.add_path))

    def action_mend(self) -> None:
        """List the fixes for these data."""
        self.offer_data_fixes()

    def choose_other_data(self) -> None:
        self.action_other()

    async def take_values(self, values: Mapping[str, Any]) -> None:
        """Set fields of the data, or another task, and read the rows again."""
        values = dict(values)
        task = values.pop("task", None)
        if task in TASKS:
            self.walk.begin_again_after("task")
            self.walk.set_answers(task=find_goal_of_task(task).name)
            self.say_question()
        self.walk.set_fields(values)
        # All findings depend on the task and on the fields that were set.
        self.walk.seen.clear()
        self.keep_answers()
        self.show_so_far()
        self.draw_answers()
        self._see_if_unknown()


def _make_relative(path: str) -> str:
    """Return a path relative to the working folder, if it is below it."""
    here = os.getcwd().rstrip("/") + "/"
    return path[len(here) :] if path.startswith(here) else path
