"""Writes a draft as YAML: with all fields for an editor, with the set ones for a file.

The user's own comments are kept: the result is the text that the draft came from, with the current values.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.options import list_options
from tui_tuner.config.paths import PATHS, resolve_config_paths
from tui_tuner.config.tiny import find_missing_tiny_values
from tui_tuner.config.writing.commented import write_commented, write_unread_comment
from tui_tuner.config.writing.flat import are_values_equal, flatten_config, split_config_section
from tui_tuner.config.writing.patched import (
    add_default_comments,
    add_section_comments,
    patch_config_text,
    remove_default_comments,
)
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.editing.draft_files import Draft, summarise_draft
from tui_tuner.ui.form_values import find_draft_value, is_field_effective, set_draft_value


@dataclass(frozen=True)
class WrittenConfig:
    """A text for a file.

    Args:
        unread: Fields written as comments because they do not affect the run.
        lost: The user's comments could not be kept.
    """

    text: str
    unread: tuple[str, ...] = ()
    lost: bool = False


def write_draft_for_editor(draft: Draft) -> str:
    """Write the draft with every field; defaults are comments. Texts that are not values are included."""
    held = copy.deepcopy(draft.values)
    for path, text in draft.texts.items():
        set_draft_value(held, path, text)
    text, _own = _text_of(draft, flatten_config(held), _find_home(draft), [], unread=True)
    task = str(find_draft_value(draft.values, "task"))
    return add_default_comments("\n".join(f"# {line}" for line in _editor_head()) + "\n\n" + text, task)


def read_draft_from_editor(text: str) -> str:
    """Return the text without the lines that `write_draft_for_editor` added."""
    head = {f"# {line}" for line in _editor_head()}
    return remove_default_comments("\n".join(line for line in text.splitlines() if line not in head)).lstrip(
        "\n"
    )


def write_draft_for_file(draft: Draft, path: Path) -> WrittenConfig:
    """Write the draft as a config that means the same in the folder of `path`."""
    held = flatten_config(draft.values)
    unread = {name: value for name, value in held.items() if not is_field_effective(draft.values, name)}
    unread = {name: value for name, value in unread.items() if not _is_default(name, value)}
    kept = {name: value for name, value in held.items() if is_field_effective(draft.values, name)}
    # With a tiny model, an omitted field does not get its default (`config.tiny`): write the form's value
    told = [name for name in find_missing_tiny_values(draft.values) if is_field_effective(draft.values, name)]
    kept |= {name: find_draft_value(draft.values, name) for name in told}
    text, own = _text_of(draft, kept, path.absolute().parent, _file_head(draft, path), told=told)
    task = str(find_draft_value(draft.values, "task"))
    comments: dict[str, list[str]] = {}
    for name, value in unread.items():
        comments.setdefault(split_config_section(name)[0], []).append(write_unread_comment(name, value, task))
    return WrittenConfig(add_section_comments(text, comments), tuple(unread), bool(draft.yaml) and not own)


def _text_of(
    draft: Draft,
    held: Mapping[str, Any],
    folder: Path,
    head: list[str],
    *,
    unread: bool = False,
    told: Collection[str] = (),
) -> tuple[str, bool]:
    """Return values as a text for a folder, and whether it is the draft's own text."""
    if draft.yaml:
        text = patch_config_text(draft.yaml, _find_wanted_values(draft, held, folder), told)
        # A text that cannot be changed in place is written again, without the user's comments.
        if text is not None:
            return text, True
    return write_commented(_placed_in(held, folder), head, unread=unread, told=told), False


def _find_wanted_values(draft: Draft, held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values for the draft's own text; paths stay as written if they mean the same."""
    try:
        own = parse_yaml(draft.yaml)[0]
    except BadYaml:
        return dict(held)
    if not isinstance(own, dict):
        return dict(held)
    written, meant, wanted = (
        flatten_config(own),
        _resolve_paths(flatten_config(own), folder),
        _placed_in(held, folder),
    )
    there = _resolve_paths(held, Path.cwd())
    for path in written:
        if path not in held and path in list_options():
            if is_field_effective(draft.values, path):
                # The form reset this field, so the line in the text must not bring the old value back.
                wanted[path] = list_options()[path].default
        elif path in PATHS and path in held and are_values_equal(meant[path], there[path]):
            wanted[path] = written[path]
    return wanted


def _placed_in(held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return values for a file in a folder; relative paths become absolute outside the working folder."""
    if folder.resolve() == Path.cwd().resolve():
        return dict(held)
    return _resolve_paths(held, Path.cwd())


def _resolve_paths(held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return values as read from a folder: paths found there or in the working folder become absolute."""
    nested: dict[str, Any] = {}
    for path, value in held.items():
        set_draft_value(nested, path, copy.deepcopy(value))
    for place in (folder, Path.cwd()):
        resolve_config_paths(nested, place)
    return flatten_config(nested)


def _find_home(draft: Draft) -> Path:
    return Path(draft.file).absolute().parent if draft.file else Path.cwd()


def _is_default(path: str, value: Any) -> bool:
    return path in list_options() and are_values_equal(value, list_options()[path].default)


def _editor_head() -> list[str]:
    return [
        _("All settings of the form. Set values come first in each section; defaults follow as comments."),
        _("To change a default, remove the # and edit it. Save and close the editor to apply the text."),
    ]


def _file_head(draft: Draft, path: Path) -> list[str]:
    data, task, method = summarise_draft(draft.values)
    told = _(
        "Settings of tui-tuner: task {task}, method {method}, data {data}.",
        task=task,
        method=method,
        data=data,
    )
    return [one_line(told, 200), "", f"    tui-tuner run {shlex.quote(one_line(path.name))}", ""]
