"""Whether a run can be started from a draft: the check that is made before there is a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.config.options import field_of, known_field
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DataError, RowsError, RunError, TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.view import RunView
from tui_tuner.text import listed, one_line
from tui_tuner.ui.form import at, config_of, given

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper

_PATIENCE = 60.0  # seconds for the first rows, with the start of the process
_OF_ROWS = ("data.columns", "data.format", "task")
_BY_CODE = {DataError.exit_code: "data.path"}  # of runs that an older version ended


@dataclass(frozen=True)
class Refusal:
    """Why nothing can be started.

    Args:
        field: The dotted name of the field that it comes from; empty where nobody knows.
        sentence: What is wrong.
        advice: What to do, in words for a screen.
        fixes: The ways that these tell: values by the dotted names of their fields.
        rows_seen: It is over rows that were read, and not over their file.
    """

    field: str
    sentence: str
    advice: str = ""
    fixes: tuple[Mapping[str, Any], ...] = ()
    rows_seen: bool = False

    @property
    def of_rows(self) -> bool:
        """Whether it may help to say what the rows are: there are some to be looked at."""
        return self.field in _OF_ROWS or (self.field == "data.path" and self.rows_seen)

    @property
    def task_fix(self) -> Mapping[str, Any] | None:
        """The first way out that is another task for the same rows, which one key takes."""
        return next((fix for fix in self.fixes if "task" in fix), None)

    @property
    def mendable(self) -> bool:
        """Whether there is something to choose from."""
        return bool(self.fixes) or self.of_rows or self.field == "data.path"


def check_start(values: Mapping[str, Any]) -> Refusal | None:
    """Look at what a draft speaks of; None if a run can be started. Reads files, so it has its time."""
    from tui_tuner.launch.beforehand import check_beforehand

    try:
        check_beforehand(config_of(values))
    except (TunerError, OSError) as error:
        return refusal_of(error)
    return None


def check_place(values: Mapping[str, Any], runs: RunStore) -> Refusal | None:
    """Whether the folder of a run could be made, where its config says or among the other runs."""
    config = config_of(values)
    try:
        store_for(values, config, runs).look(config.output.name)
    except (TunerError, OSError) as error:
        return refusal_of(error)
    return None


def store_for(values: Mapping[str, Any], config: RunConfig, runs: RunStore) -> RunStore:
    """Where a run of a draft is kept: in the folder that it names, or among the other runs."""
    return RunStore(config.output.folder) if given(values, "output.folder") else runs


def is_fetched(values: Mapping[str, Any]) -> bool:
    """Whether a run of a draft would fetch its model first: only then it is known whether there is one."""
    from tui_tuner.models.hub.local import find
    from tui_tuner.models.hub.place import is_path

    model = config_of(values).model
    if model.architecture is not None or is_path(model.name):
        return False
    return find(model.name, model.revision, model.hub) is None


def try_rows(values: Mapping[str, Any], helper: Helper) -> Refusal | None:
    """Whether rows of a draft that `check_start` has passed come through its template and its tokenizer.

    Takes a while, in a helper process; nothing is asked for a model that would have to be fetched first. What
    ends the helper says nothing about the rows.
    """
    from tui_tuner.launch.helper import Cancelled
    from tui_tuner.launch.helper_process import ProcessEnded

    config = config_of(values)
    if not _own_rows(config) or config.model.trust_remote_code:
        return None
    try:
        helper.ask("try_rows", {"config": config.model_dump(mode="json")}, seconds=_PATIENCE)
    except (Cancelled, ProcessEnded, RunError):
        return None
    except TunerError as error:
        return refusal_of(error)
    return None


def _own_rows(config: RunConfig) -> bool:
    """Whether there are rows that do not come with this package."""
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    names = [item if isinstance(item, str) else item.path for item in paths]
    return any(os.path.exists(os.path.expanduser(name)) for name in names)


def better_start(values: Mapping[str, Any]) -> Refusal | None:
    """The same of a draft that a run can be started from."""
    try:
        return better_of(config_of(values))
    except TunerError:
        return None


def better_of(config: RunConfig) -> Refusal | None:
    """What is said of data that the task can use and another could use better. Reads the first rows."""
    from tui_tuner.tasks.preview.suiting import better_task

    better = better_task(config)
    if better is None:
        return None
    return Refusal("task", better.sentence, on_screen(better.hint), fixes_of(better.hint), True)


def tiny_start(values: Mapping[str, Any]) -> Refusal | None:
    """What a tiny model learns with, where a draft has one and other values. It is offered, not refused."""
    from tui_tuner.config.tiny import values_to_take

    fix = values_to_take(values)
    if not fix:
        return None
    told = _("{model} begins with random weights.", model=one_line(at(values, "model.name"), 40))
    advice = _(
        "Random weights learn with {values}.", values=listed(f"{path} {value}" for path, value in fix.items())
    )
    return Refusal("model.name", told, advice, (fix,))


def refusal_of(error: TunerError | OSError) -> Refusal:
    """What an error says to a form."""
    if not isinstance(error, TunerError):
        return Refusal("", str(error))
    field = field_of(error)
    named = known_field(error.where) or not error.where
    place = os.path.basename(error.where) if os.path.isabs(error.where) else error.where
    sentence = error.what if named else f"{place}: {error.what}"
    seen = isinstance(error, RowsError)
    return Refusal(field, sentence, on_screen(error.hint), fixes_of(error.hint), seen)


def refusal_of_run(view: RunView) -> Refusal:
    """What the end of a run says to a form. A journal may be anybody's: what it names has to be there."""
    named = known_field(view.field)
    field = named or _BY_CODE.get(view.exit_code or 0, "")
    fixes = [fix for fix in view.fixes if all(known_field(str(path)) == path for path in fix)]
    seen = view.rows_seen or not named  # an older version told neither
    return Refusal(field, _without_folder(view.message), view.advice, tuple(fixes), seen)


def _without_folder(sentence: str) -> str:
    """A sentence that begins with the whole path of a file, with its name alone: a title is one line."""
    place, colon, rest = sentence.partition(": ")
    return f"{os.path.basename(place)}{colon}{rest}" if os.path.isabs(place) and rest else sentence
