"""A draft as a YAML text: for an editor, with all fields; for a file, with what is set.

Whoever has comments of their own in the text keeps them: it is the text that the draft came from, with the
values of now.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.options import options
from tui_tuner.config.paths import PATHS, take_from_beside
from tui_tuner.config.tiny import values_to_take
from tui_tuner.config.writing.commented import commented, unread_line
from tui_tuner.config.writing.flat import flat, placed, same_value
from tui_tuner.config.writing.patched import patched, with_comments, with_defaults, without_defaults
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.editing.kept import Draft, in_short
from tui_tuner.ui.form import applies, at, put


@dataclass(frozen=True)
class Written:
    """A text for a file.

    Args:
        unread: Fields that stand in it as comments, for they have no effect on its run.
        lost: The comments of a text of one's own could not be kept.
    """

    text: str
    unread: tuple[str, ...] = ()
    lost: bool = False


def for_editor(draft: Draft) -> str:
    """The draft with every field: those at their defaults are comments. What is no value stands there too."""
    held = copy.deepcopy(draft.values)
    for path, text in draft.texts.items():
        put(held, path, text)
    text, _own = _text_of(draft, flat(held), _home(draft), [], unread=True)
    task = str(at(draft.values, "task"))
    return with_defaults("\n".join(f"# {line}" for line in _editor_head()) + "\n\n" + text, task)


def from_editor(text: str) -> str:
    """The text without what `for_editor` has put into it."""
    head = {f"# {line}" for line in _editor_head()}
    return without_defaults("\n".join(line for line in text.splitlines() if line not in head)).lstrip("\n")


def for_file(draft: Draft, path: Path) -> Written:
    """The draft as a config that says the same from where it will lie."""
    held = flat(draft.values)
    unread = {name: value for name, value in held.items() if not applies(draft.values, name)}
    unread = {name: value for name, value in unread.items() if not _is_default(name, value)}
    kept = {name: value for name, value in held.items() if applies(draft.values, name)}
    # For a tiny model, what a file leaves open is no default (`config.tiny`): the form's values are told
    told = [name for name in values_to_take(draft.values) if applies(draft.values, name)]
    kept |= {name: at(draft.values, name) for name in told}
    text, own = _text_of(draft, kept, path.absolute().parent, _file_head(draft, path), told=told)
    task = str(at(draft.values, "task"))
    comments: dict[str, list[str]] = {}
    for name, value in unread.items():
        comments.setdefault(placed(name)[0], []).append(unread_line(name, value, task))
    return Written(with_comments(text, comments), tuple(unread), bool(draft.yaml) and not own)


def _text_of(
    draft: Draft,
    held: Mapping[str, Any],
    folder: Path,
    head: list[str],
    *,
    unread: bool = False,
    told: Collection[str] = (),
) -> tuple[str, bool]:
    """Values as a text that lies in a folder, and whether it is the draft's own."""
    if draft.yaml:
        text = patched(draft.yaml, _wanted(draft, held, folder), told)
        if text is not None:
            return text, True
    return commented(_placed_in(held, folder), head, unread=unread, told=told), False


def _wanted(draft: Draft, held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the draft's own text is to say: paths stay as they are written where they lead to the same."""
    try:
        own = parse_yaml(draft.yaml)[0]
    except BadYaml:
        return dict(held)
    if not isinstance(own, dict):
        return dict(held)
    written, meant, wanted = flat(own), _meaning(flat(own), folder), _placed_in(held, folder)
    there = _meaning(held, Path.cwd())
    for path in written:
        if path not in held and path in options():
            if applies(draft.values, path):
                wanted[path] = options()[path].default
        elif path in PATHS and path in held and same_value(meant[path], there[path]):
            wanted[path] = written[path]
    return wanted


def _placed_in(held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Values for a file in a folder: paths relative to the working folder are absolute elsewhere."""
    if folder.resolve() == Path.cwd().resolve():
        return dict(held)
    return _meaning(held, Path.cwd())


def _meaning(held: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Values as they are read in a folder: its paths, and those of the working folder, are absolute."""
    nested: dict[str, Any] = {}
    for path, value in held.items():
        put(nested, path, copy.deepcopy(value))
    for place in (folder, Path.cwd()):
        take_from_beside(nested, place)
    return flat(nested)


def _home(draft: Draft) -> Path:
    return Path(draft.file).absolute().parent if draft.file else Path.cwd()


def _is_default(path: str, value: Any) -> bool:
    return path in options() and same_value(value, options()[path].default)


def _editor_head() -> list[str]:
    return [
        _("All settings of the form. What is set comes first in each section; below it, behind #, stands"),
        _("what is at its default: take the # away and change it. Save and leave the editor to take it."),
    ]


def _file_head(draft: Draft, path: Path) -> list[str]:
    data, task, method = in_short(draft.values)
    told = _(
        "Settings of tui-tuner: task {task}, method {method}, data {data}.",
        task=task,
        method=method,
        data=data,
    )
    return [one_line(told, 200), "", f"    tui-tuner run {shlex.quote(one_line(path.name))}", ""]
