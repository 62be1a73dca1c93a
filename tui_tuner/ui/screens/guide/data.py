"""Question 2: the data. Files of the working folder first, each with its rows as they are understood."""

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

from tui_tuner.config.kinds import TASKS
from tui_tuner.guiding.goals import goal_of
from tui_tuner.locales import _
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.form import put
from tui_tuner.ui.screens.guide.looking import Seen, see
from tui_tuner.ui.screens.guide.mending import WaysOut
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.widgets.paths.listing import DATA_SUFFIXES, short_path
from tui_tuner.ui.words import block, column, mark

OTHER, NONE = "other", "none"
_FILE = "file "
_RECENT = 3
_REST = 0.15  # seconds that the cursor rests on a file before it is read


@dataclass(frozen=True)
class _Place:
    """Data that may be taken."""

    path: str
    size: int = 0
    recent: bool = False


class Around(Message):
    """The files here, and those of before."""

    def __init__(self, recent: list[str]) -> None:
        super().__init__()
        self.recent = recent


class Saw(Message):
    """Some data were looked at, for a task."""

    def __init__(self, path: str, task: str, seen: Seen) -> None:
        super().__init__()
        self.path, self.wanted, self.seen = path, task, seen

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Saw) and message.path == self.path and message.wanted == self.wanted


class DataQuestion(WaysOut):
    """A line for each file; below, how it is read, and what is to be known of it."""

    PLACE: ClassVar[int] = 2
    HELP_TEXT = _(
        "Enter takes the file under the cursor. Below it stand its first rows, as they are understood: who "
        "says what, a text and its class, and so on.\n"
        "o chooses another file or folder, or a data set of a hub by its name; n says what can be done "
        "without data: an example file to fill in, rows written here, the demo's own rows.\n"
        "What is wrong with the data, too little or odd, is said below; F4 offers ways out, F5 takes the "
        "goal that the rows are for.\n"
        "Good examples matter more than many."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "other", _("Other file")),
        Binding("n", "no_data", _("No data")),
        Binding("f4", "mend", _("Mend")),
        Binding("f5,k", "other_task", _("Change goal")),
    ]

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._recent: list[str] = []
        self._around = False  # whether the files here are known
        self._timer: Timer | None = None
        self._added: list[str] = []  # that were chosen here

    def asked(self) -> str:
        return _("Which data should it learn from?")

    def meaning(self) -> str:
        from tui_tuner.guiding.amounts import say_numbers

        goal = self.walk.goal
        needs = _(goal.needs) if goal is not None and goal.needs else _("examples")
        return _(
            "A file, or a folder of files, with {rows}. {numbers}",
            rows=mark(needs, "bold"),
            numbers=say_numbers(self.walk.task),
        )

    def listed(self) -> str:
        return _("Data")

    def on_mount(self) -> None:
        if self.walk.answers.data and "data" in self.walk.chosen:
            self._added.append(self.walk.answers.data)
        self._look_around()

    # What there is

    @work(thread=True, group="around", exclusive=True)
    def _look_around(self) -> None:
        from tui_tuner.ui.recent import recent

        worker = get_current_worker()
        self.walk.look_around(lambda: worker.is_cancelled)
        found = recent("data")
        if not worker.is_cancelled:
            self.post_message(Around(found))

    @on(Around)
    def _known(self, message: Around) -> None:
        self._around, self._recent = True, message.recent
        self.draw_answers()
        self.found_out()

    def work_failed(self, group: str, words: str) -> None:
        if group == "around":
            self.post_message(Around([]))
        elif group == "see":
            place = self._place
            if place:
                self.post_message(Saw(place, self.walk.task, Seen(refusal=Refusal("", words))))

    def _places(self) -> list[_Place]:
        """What is listed, the likeliest first."""
        files = self.walk.files or ()
        task = self.walk.task
        fitting = [one for one in files if one.suits(task)]
        others = [one for one in files if not one.suits(task)]
        found = [_Place(path) for path in self._added]
        found += [_Place(one.path, one.size) for one in (*fitting, *others)]
        here = {os.path.abspath(place.path) for place in found}
        before = [
            path for path in self._recent if path not in here and not path.startswith(os.getcwd() + "/")
        ]
        found += [_Place(short_path(path), 0, True) for path in before[:_RECENT]]
        kept: dict[str, _Place] = {}
        for place in found:
            kept.setdefault(os.path.abspath(os.path.expanduser(place.path)), place)
        return list(kept.values())

    def draw_answers(self, at: str = "") -> None:
        """Draw the answers; the cursor goes to one of them, if that is said."""
        if not self._around:
            return
        lines = [(_FILE + place.path, self._line(place, self.width)) for place in self._places()]
        more = (
            (OTHER, "o", _("another file, a folder, or a data set of a hub …")),
            (NONE, "n", _("I have no data yet …")),
        )
        for id, key, words in more:
            lines.append((id, Content.assemble((f"{key}  ", "$accent"), words)))
        if not self.answers.options:
            at = at or self._first(lines)
        self.show_answers(lines, at)

    def _first(self, lines: list[tuple[str, Content]]) -> str:
        """Where the cursor begins: on what was answered, on a file whose rows fit, else where one goes on."""
        if self._added:
            return _FILE + self._added[-1]
        task = self.walk.task
        best = next((one for one in self.walk.files or () if one.suits(task)), None)
        if best is not None:
            return _FILE + best.path
        return NONE if len(lines) == 2 else lines[0][0]

    def _line(self, place: _Place, width: int) -> Content:
        known = next((one for one in self.walk.files or () if one.path == place.path), None)
        size = human_bytes(place.size) if place.size else ""
        names = min(34, width // 2)
        name = f"↺ {place.path}" if place.recent else place.path
        words, colour = size, "$dim"
        if known is not None and known.suits(self.walk.task):
            words, colour = f"✓ {size:>9}  {known.rows_words}", "$success"
        elif known is not None and known.task:
            words = f"· {size:>9}  {known.rows_words}"
        elif known is not None:
            words, colour = f"✗ {size:>9}  {one_line(known.problem)}", "$error"
        return Content.assemble(
            (column(name, names - 1), "bold"),
            " ",
            (words[:1], colour),
            (column(words[1:], width - names - 1), "$dim"),
        )

    # What is in it

    @property
    def _place(self) -> str:
        """The path under the cursor; empty on a line that is none."""
        return self.chosen.removeprefix(_FILE) if self.chosen.startswith(_FILE) else ""

    @property
    def seen_now(self) -> Seen | None:
        """What is known of the data under the cursor."""
        return self.walk.seen.get((self._place, self.walk.task))

    def values(self) -> dict[str, Any]:
        """The draft for the data under the cursor, with what was said of them."""
        values: dict[str, Any] = {}
        for field, value in {**self.walk.config_values(), "data.path": self._place}.items():
            put(values, field, value)
        return values

    @property
    def said(self) -> Refusal | None:
        seen = self.seen_now
        return (seen.refusal or seen.better) if seen is not None else None

    def busy(self) -> str:
        if not self._around:
            count, of = self.walk.counted
            return _("looking at the files here: {count} of {of}", count=count, of=of)
        seen = self.seen_now
        if self._place and seen is None:
            return _("reading the first rows")
        if seen is not None and seen.busy:
            return seen.busy
        return ""

    @on(OptionList.OptionHighlighted, "#answers")
    def _other_file(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.refresh_bindings()
        if self._place and self.seen_now is None:
            self._timer = self.set_timer(_REST, self._see)

    def _see(self) -> None:
        if self._place and self.seen_now is None:
            self._look(self._place, self.walk.task, dict(self.walk.answers.more))

    @work(thread=True, group="see", exclusive=True)
    def _look(self, path: str, task: str, more: Mapping[str, Any]) -> None:
        worker = get_current_worker()

        def tell(seen: Seen) -> None:
            if not worker.is_cancelled:
                self.post_message(Saw(path, task, seen))

        see(path, task, more, tell, lambda: worker.is_cancelled)

    @on(Saw)
    def _saw(self, message: Saw) -> None:
        self.walk.seen[(message.path, message.wanted)] = message.seen
        task = self.walk.task
        if message.path == self._place and message.wanted == task:
            self.show_about()
            self.refresh_bindings()
            self.found_out()

    def about(self, chosen: str) -> Content:
        if chosen == OTHER:
            return block(
                _(
                    "Files are JSON, JSON Lines, CSV, Parquet, plain text and more; how their rows are meant "
                    "is recognised. A data set of a hub is named as its page is, such as owner/name."
                )
            )
        if chosen == NONE:
            return block(
                _(
                    "An example file shows the shape to fill in; a few rows can be written here; and the "
                    "rows of the demo try everything out."
                )
            )
        seen = self.seen_now
        if seen is None:
            return Content(_("Reading the first rows…")).stylize("$dim") if self._place else Content("")
        return seen.told(max(40, self.size.width - 4), self.size.height)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "mend":
            seen = self.seen_now
            return bool(seen is not None and (seen.ways or (seen.refusal and seen.refusal.mendable)))
        if action == "other_task":
            return self.other_task is not None
        return True

    def choose(self, chosen: str) -> None:
        seen = self.seen_now
        if self._place and (seen is None or not seen.stops):
            self._take(self._place)
            return
        self.walk.ahead.clear()
        if chosen == OTHER:
            self.action_other()
        elif chosen == NONE:
            self.action_no_data()
        else:
            self.action_mend()

    def _take(self, path: str) -> None:
        from tui_tuner.ui.screens.guide.model import ModelQuestion

        if path != self.walk.answers.data:
            self.walk.begin_again_after("data")
        self.walk.answer(data=path)
        self.keep()
        self.app.push_screen(ModelQuestion(self.walk))

    def action_other(self) -> None:
        """Any file, with completion; or a data set of a hub."""
        from tui_tuner.ui.screens.choosing import ChooseFile

        self.app.push_screen(
            ChooseFile(_("Data"), suffixes=DATA_SUFFIXES, folders=True, unseen=_is_no_path),
            self._chosen_other,
        )

    def _chosen_other(self, path: str | None) -> None:
        if path:
            self.add(_shortest(path))

    def add(self, path: str) -> None:
        """Have these data in the list, the cursor on them."""
        self._added = [path, *(one for one in self._added if one != path)]
        self.draw_answers(_FILE + path)

    def action_no_data(self) -> None:
        """What can be done without data."""
        from tui_tuner.ui.screens.guide.nodata import NoData

        self.app.push_screen(NoData(self.walk, self.add))

    def action_mend(self) -> None:
        """What can be done about these data."""
        self.offer_ways()

    def other_data(self) -> None:
        self.action_other()

    async def take(self, values: Mapping[str, Any]) -> None:
        """Take what is said of the rows, or another task, and look again."""
        values = dict(values)
        task = values.pop("task", None)
        if task in TASKS:
            self.walk.begin_again_after("task")
            self.walk.answer(task=goal_of(task).name)
            self.say_question()
        self.walk.put(values)
        self.walk.seen.clear()
        self.keep()
        self.show_so_far()
        self.draw_answers()
        self._see()


def _is_no_path(text: str) -> bool:
    from tui_tuner.data.sources.files import names_no_file

    return names_no_file(text)


def _shortest(path: str) -> str:
    """A path as one would type it here."""
    here = os.getcwd().rstrip("/") + "/"
    return path[len(here) :] if path.startswith(here) else path
