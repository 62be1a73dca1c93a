"""The config of a resumed run: what it was trained with, and what of an edited `config.yaml` it takes.

`config.yaml` in the run folder is what counts. What the run was trained with is in its checkpoints, as it was
asked for and without any `auto`; `config.resolved.yaml` is a copy for people, and read of runs of version 0.1
only.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from tui_tuner.config.advice import Command, advise
from tui_tuner.config.continuing import ANEW, Edit, edits, shown
from tui_tuner.config.load import build_config, read_config
from tui_tuner.config.options import get_value, options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.training.context import RunContext
from tui_tuner.training.keeping.checkpoints import checkpoints
from tui_tuner.training.keeping.progress import Progress, read_progress

RESOLVED = "config.resolved.yaml"


def keep_choices(context: RunContext) -> RunConfig:
    """The config as asked for; in a resumed run, what an `auto` became before stays what it is.

    Each field that was edited since is said in the journal, with what becomes of it.

    Raises:
        ConfigError: a field was edited that a run cannot change on its way, or what it had is not known.
    """
    if context.checkpoint is None:
        _say_anew(context)
        return context.asked
    began = _began(context)
    if began is None:
        return context.asked
    before, asked = began
    found = _edits(context.folder, context.progress, before, asked, context.asked)
    for edit in found:
        context.reporter.log(edit.sentence())
    without = {edit.field for edit in found if edit.verdict == "no effect"}
    kept = {
        name: get_value(before, name)
        for name in options()
        if name in without or (name not in ANEW and get_value(context.asked, name) == "auto")
    }
    return with_values(context.asked, kept)


def check_edits(folder: RunFolder, asked: RunConfig) -> None:
    """Refuse, before anything is imported or read, edits that a run cannot take on its way.

    Reads what the newest checkpoint says of its config, sound or not; `keep_choices` looks at a sound one.

    Raises:
        ConfigError: a field was edited that a run cannot change.
    """
    for checkpoint in checkpoints(folder.checkpoints)[:1]:
        try:
            kept = read_progress(checkpoint.path)
            before, had = build_config(kept.config), build_config(kept.asked)
        except (OSError, ValueError, TypeError, ConfigError):
            return  # damaged, or of version 0.1
        if kept.config:
            _edits(folder, kept, before, had, asked)


def _edits(
    folder: RunFolder, progress: Progress, before: RunConfig, had: RunConfig | None, asked: RunConfig
) -> list[Edit]:
    """What was edited since the run began.

    Raises:
        ConfigError: a field was edited that a run cannot change.
    """
    found = [_with_random(progress, edit) for edit in edits(before, had, asked)]
    refused = [edit for edit in found if edit.verdict == "refused"]
    if refused:
        raise _refusal(folder, asked, refused)
    return found


def _with_random(progress: Progress, edit: Edit) -> Edit:
    """The same, but refused where the model's own dropout draws other numbers with it."""
    if edit.field != "training.micro_batch" or edit.verdict != "taken" or not progress.random:
        return edit
    why = N_("the model draws random numbers, and others where a batch is cut into other parts")
    return replace(edit, verdict="refused", why=why)


def _say_anew(context: RunContext) -> None:
    """Name what was edited in a run that starts at the beginning again: all of it is taken."""
    try:
        before = read_config(context.folder.path / RESOLVED)
    except ConfigError:
        return  # it had not begun to train, or it is written anew in a moment
    for edit in edits(before, None, context.asked):
        anew = replace(edit, verdict="taken", why=N_("the run starts at the beginning"))
        context.reporter.log(anew.sentence())


def _began(context: RunContext) -> tuple[RunConfig, RunConfig | None] | None:
    """What the run was trained with and, if it is known, as it was asked for."""
    path = context.folder.path / RESOLVED
    kept = context.progress
    if kept.config:
        assert context.checkpoint is not None
        try:
            where = one_line(context.checkpoint.path)
            before, asked = build_config(kept.config, where), build_config(kept.asked, where)
        except ConfigError as error:
            hint = _("Resume it with the version of tui-tuner that wrote it.")
            raise ConfigError(error.what, where=error.where, hint=hint, field=error.field) from None
        _look_at_copy(context, path, before)
        return before, asked
    if not path.is_file():
        return None
    try:
        return read_config(path), None
    except ConfigError as error:
        hint = _(
            "It holds what every auto of this run became. Mend it from the journal's first line and its "
            "lines of the kind resolved, or delete it: each auto is then chosen anew."
        )
        raise ConfigError(error.what, where=error.where, hint=hint) from None


def _look_at_copy(context: RunContext, path: Path, before: RunConfig) -> None:
    """Say so if somebody edited the copy, which changes nothing."""
    if not path.exists():
        return
    try:
        if read_config(path) == before:
            return
        what = _("{name} was edited, and is not what counts: it is written anew.", name=path.name)
    except ConfigError as error:
        what = _(
            "{name} is damaged, and is written anew ({problem}).", name=path.name, problem=one_line(error)
        )
    hint = _("What the run was trained with is in its checkpoints; edit config.yaml to change it.")
    context.reporter.warn("config_copy", what, hint)


def _refusal(folder: RunFolder, asked: RunConfig, refused: list[Edit]) -> ConfigError:
    path = folder.path / "config.yaml"
    old = get_value(asked, "output.name")
    command = f"tui-tuner run {shlex.quote(one_line(path))}"
    if old != "auto":
        command += " --set output.name=auto"
    return ConfigError(
        " ".join(edit.sentence() for edit in refused),
        where=one_line(path),
        hint=advise(
            N_(
                "Put back {fields} to go on, or start a new run: {command}",
                fields=", ".join(f"{edit.field}: {shown(edit.before)}" for edit in refused),
                command=Command(command, _("from its settings.")),
            )
        ),
        field=refused[0].field,
    )
