"""Choose the config of a resumed run: the one it was trained with, and accepted edits of `config.yaml`.

`config.yaml` in the run folder is the file to edit. Checkpoints hold the config the run was trained with,
both as requested and with a value for each `auto`. `config.resolved.yaml` is a copy for people, and is read
only for runs of version 0.1.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from tui_tuner.config.advice import Command, build_hint
from tui_tuner.config.continuing import ANEW, Edit, format_edited_value, list_config_edits
from tui_tuner.config.load import build_config, read_config
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.training.context import RunContext
from tui_tuner.training.keeping.checkpoints import list_checkpoints
from tui_tuner.training.keeping.progress import Progress, read_progress

RESOLVED = "config.resolved.yaml"


def keep_resumed_choices(context: RunContext) -> RunConfig:
    """Return the config as requested; in a resumed run, each `auto` keeps the value it had.

    Each field that was edited since is logged, with the effect of the edit.

    Raises:
        ConfigError: a field was edited that cannot change within a run, or its earlier value is unknown.
    """
    if context.checkpoint is None:
        _report_edits(context)
        return context.asked
    began = _find_beginning(context)
    if began is None:
        return context.asked
    before, asked = began
    found = _find_edits(context.folder, context.progress, before, asked, context.asked)
    for edit in found:
        context.reporter.report_log(edit.describe_edit())
    without = {edit.field for edit in found if edit.verdict == "no effect"}
    # Choosing again could give another value: memory or hardware may be different today.
    kept = {
        name: get_config_value(before, name)
        for name in list_options()
        if name in without or (name not in ANEW and get_config_value(context.asked, name) == "auto")
    }
    return edit_values(context.asked, kept)


def check_resumed_edits(folder: RunFolder, asked: RunConfig) -> None:
    """Refuse edits that cannot be made within a run, before anything slow is imported or read.

    The newest checkpoint is asked, intact or not; `keep_resumed_choices` repeats this with an intact one.

    Raises:
        ConfigError: a field was edited that cannot change within a run.
    """
    for checkpoint in list_checkpoints(folder.checkpoints_path)[:1]:
        try:
            kept = read_progress(checkpoint.path)
            before, had = build_config(kept.config), build_config(kept.asked)
        except (OSError, ValueError, TypeError, ConfigError):
            return  # damaged, or of version 0.1
        if kept.config:
            _find_edits(folder, kept, before, had, asked)


def _find_edits(
    folder: RunFolder, progress: Progress, before: RunConfig, had: RunConfig | None, asked: RunConfig
) -> list[Edit]:
    """Find the edits since the run began.

    Raises:
        ConfigError: a field was edited that cannot change within a run.
    """
    found = [_with_random(progress, edit) for edit in list_config_edits(before, had, asked)]
    refused = [edit for edit in found if edit.verdict == "refused"]
    if refused:
        raise _make_refusal(folder, asked, refused)
    return found


def _with_random(progress: Progress, edit: Edit) -> Edit:
    """Refuse another micro-batch if training draws random numbers, as dropout does."""
    if edit.field != "training.micro_batch" or edit.verdict != "taken" or not progress.random:
        return edit
    why = N_("the model draws random numbers, which differ when a batch is split differently")
    return replace(edit, verdict="refused", why=why)


def _report_edits(context: RunContext) -> None:
    """Log the edits in a run that starts from the beginning again: all are accepted."""
    try:
        before = read_config(context.folder.path / RESOLVED)
    except ConfigError:
        return  # training had not begun, or the file is damaged and is about to be written again
    for edit in list_config_edits(before, None, context.asked):
        anew = replace(edit, verdict="taken", why=N_("the run starts at the beginning"))
        context.reporter.report_log(anew.describe_edit())


def _find_beginning(context: RunContext) -> tuple[RunConfig, RunConfig | None] | None:
    """Return the config the run was trained with and, if known, as it was requested."""
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
    # A run of version 0.1: its checkpoints hold no config.
    if not path.is_file():
        return None
    try:
        return read_config(path), None
    except ConfigError as error:
        hint = _(
            "It holds the value of every auto of this run. Restore it from the journal's first line and its "
            "lines of the kind resolved, or delete it: each auto is then chosen again."
        )
        raise ConfigError(error.what, where=error.where, hint=hint) from None


def _look_at_copy(context: RunContext, path: Path, before: RunConfig) -> None:
    """Warn if the copy was edited, which has no effect."""
    if not path.exists():
        return
    try:
        if read_config(path) == before:
            return
        what = _("{name} was edited, which has no effect; it is written again.", name=path.name)
    except ConfigError as error:
        what = _(
            "{name} is damaged and is written again ({problem}).", name=path.name, problem=one_line(error)
        )
    hint = _("The config of the training is in the checkpoints; edit config.yaml to change it.")
    context.reporter.report_warning("config_copy", what, hint)


def _make_refusal(folder: RunFolder, asked: RunConfig, refused: list[Edit]) -> ConfigError:
    path = folder.path / "config.yaml"
    old = get_config_value(asked, "output.name")
    command = f"tui-tuner run {shlex.quote(one_line(path))}"
    # A name given by hand is taken by this run, so the command for a new one must not repeat it.
    if old != "auto":
        command += " --set output.name=auto"
    return ConfigError(
        " ".join(edit.describe_edit() for edit in refused),
        where=one_line(path),
        hint=build_hint(
            N_(
                "Restore {fields} to resume, or start a new run: {command}",
                fields=", ".join(f"{edit.field}: {format_edited_value(edit.before)}" for edit in refused),
                command=Command(command, _("from its settings.")),
            )
        ),
        field=refused[0].field,
    )
