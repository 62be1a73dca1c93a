"""Checks whether a run can be started from a draft, before a run folder is created."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.config.options import find_error_field, find_known_field
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DataError, RowsError, RunError, TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.view import RunView
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.ui.form_values import build_draft_config, find_draft_value, find_given

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper

_PATIENCE = 60.0  # seconds for the first rows, including the start of the process
_OF_ROWS = ("data.columns", "data.format", "task")
_BY_CODE = {DataError.exit_code: "data.path"}  # for runs of an older version


@dataclass(frozen=True)
class Refusal:
    """The reason why a run cannot be started.

    Args:
        field: The dotted name of the field that causes it; empty if unknown.
        sentence: What is wrong.
        advice: What to do, in words for a screen.
        fixes: The fixes that the advice names: values by dotted field name.
        rows_seen: The problem is in rows that were read, not in their file.
    """

    field: str
    sentence: str
    advice: str = ""
    fixes: tuple[Mapping[str, Any], ...] = ()
    rows_seen: bool = False

    @property
    def of_rows(self) -> bool:
        """True if describing the rows may help, as there are rows to look at."""
        return self.field in _OF_ROWS or (self.field == "data.path" and self.rows_seen)

    @property
    def task_fix(self) -> Mapping[str, Any] | None:
        """The first fix that is another task for the same rows, which one key applies."""
        return next((fix for fix in self.fixes if "task" in fix), None)

    @property
    def is_fixable(self) -> bool:
        """True if the user can choose a fix."""
        return bool(self.fixes) or self.of_rows or self.field == "data.path"


def check_start(values: Mapping[str, Any]) -> Refusal | None:
    """Check a draft and its files; None if a run can be started. Slow: call it in a thread."""
    from tui_tuner.launch.beforehand import check_beforehand

    try:
        check_beforehand(build_draft_config(values))
    except (TunerError, OSError) as error:
        return convert_error_to_refusal(error)
    return None


def check_run_place(values: Mapping[str, Any], runs: RunStore) -> Refusal | None:
    """Check that the run's folder can be created, in the config's folder or among the other runs."""
    config = build_draft_config(values)
    try:
        find_draft_store(values, config, runs).check_new_name(config.output.name)
    except (TunerError, OSError) as error:
        return convert_error_to_refusal(error)
    return None


def find_draft_store(values: Mapping[str, Any], config: RunConfig, runs: RunStore) -> RunStore:
    """Return the store of a draft's run: the folder that it names, or the other runs."""
    return RunStore(config.output.folder) if find_given(values, "output.folder") else runs


def needs_model_download(values: Mapping[str, Any]) -> bool:
    """Return whether a run of the draft would first download its model."""
    from tui_tuner.models.hub.local import find_complete_model
    from tui_tuner.models.hub.place import is_model_path

    model = build_draft_config(values).model
    if model.architecture is not None or is_model_path(model.name):
        return False
    return find_complete_model(model.name, model.revision, model.hub) is None


def try_draft_rows(values: Mapping[str, Any], helper: Helper) -> Refusal | None:
    """Try the first rows of a draft that passed `check_start` in its chat template and tokenizer.

    Slow, in a helper process; no model is downloaded for it. A helper that ends is not a problem of the rows.
    """
    from tui_tuner.launch.helper import Cancelled
    from tui_tuner.launch.helper_process import ProcessEnded

    config = build_draft_config(values)
    # Remote code runs only in a run that the user has started, never for a check.
    if not _own_rows(config) or config.model.trust_remote_code:
        return None
    try:
        helper.ask_and_wait("try_rows", {"config": config.model_dump(mode="json")}, seconds=_PATIENCE)
    # Memory or libraries may fail in the helper; the run reports it itself, with more detail.
    except (Cancelled, ProcessEnded, RunError):
        return None
    except TunerError as error:
        return convert_error_to_refusal(error)
    return None


def _own_rows(config: RunConfig) -> bool:
    """Return whether the data are files of the user, and not the demo data of this package."""
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    names = [item if isinstance(item, str) else item.path for item in paths]
    return any(os.path.exists(os.path.expanduser(name)) for name in names)


def suggest_better_start(values: Mapping[str, Any]) -> Refusal | None:
    """Return the suggestion of a better task for a draft; None if there is none or the draft is invalid."""
    try:
        return suggest_better_task(build_draft_config(values))
    except TunerError:
        return None


def suggest_better_task(config: RunConfig) -> Refusal | None:
    """Suggest a task that fits the data better than the config's, if any. Reads the first rows."""
    from tui_tuner.tasks.preview.better_tasks import find_better_task

    better = find_better_task(config)
    if better is None:
        return None
    return Refusal(
        "task", better.sentence, format_screen_hint(better.hint), list_hint_fixes(better.hint), True
    )


def suggest_tiny_start(values: Mapping[str, Any]) -> Refusal | None:
    """Suggest values for a tiny model with random weights, if the draft has others (never an error)."""
    from tui_tuner.config.tiny import find_missing_tiny_values

    fix = find_missing_tiny_values(values)
    if not fix:
        return None
    told = _(
        "{model} starts with random weights.", model=one_line(find_draft_value(values, "model.name"), 40)
    )
    advice = _(
        "Random weights need {values} to learn.",
        values=join_sentence_items(f"{path} {value}" for path, value in fix.items()),
    )
    return Refusal("model.name", told, advice, (fix,))


def convert_error_to_refusal(error: TunerError | OSError) -> Refusal:
    """Convert an error to a refusal that a form can show."""
    if not isinstance(error, TunerError):
        return Refusal("", str(error))
    field = find_error_field(error)
    # A field is shown at its place in the form, so the sentence need not name it; a file must be named.
    named = find_known_field(error.where) or not error.where
    place = os.path.basename(error.where) if os.path.isabs(error.where) else error.where
    sentence = error.what if named else f"{place}: {error.what}"
    seen = isinstance(error, RowsError)
    return Refusal(field, sentence, format_screen_hint(error.hint), list_hint_fixes(error.hint), seen)


def convert_run_to_refusal(view: RunView) -> Refusal:
    """Convert the end of a run to a refusal. Journals are untrusted: only known fields are used."""
    named = find_known_field(view.field)
    field = named or _BY_CODE.get(view.exit_code or 0, "")
    fixes = [fix for fix in view.fixes if all(find_known_field(str(path)) == path for path in fix)]
    seen = view.rows_seen or not named  # older versions recorded neither
    return Refusal(field, _without_folder(view.message), view.advice, tuple(fixes), seen)


def _without_folder(sentence: str) -> str:
    """Shorten a path at the start of a sentence to the file name, as a title is one line."""
    place, colon, rest = sentence.partition(": ")
    return f"{os.path.basename(place)}{colon}{rest}" if os.path.isabs(place) and rest else sentence
