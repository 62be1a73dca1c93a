"""A prompt with {column} places, filled in with the values of a row. Nothing in it is ever carried out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tui_tuner.data.formats.parts.values import is_empty, is_nan
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.wire import plain
from tui_tuner.text import one_line, some_of

SHOWN = 12  # columns in a sentence


@dataclass(frozen=True)
class Template:
    """Texts and places in turn: it begins and ends with a text.

    Args:
        texts: One more than there are places.
        places: Names between braces, as they stand there.
    """

    texts: tuple[str, ...]
    places: tuple[str, ...]

    def fill(self, values: Mapping[str, Any], fixed: Mapping[str, str]) -> str:
        """The prompt of a row.

        Args:
            fixed: What is the same for every row, such as the list of labels.

        Raises:
            RowProblem: the row has nothing for any of the places.
        """
        own = [name for name in self.places if name not in fixed]
        if own and all(is_empty(values.get(name)) for name in own):
            raise RowProblem(
                N_("the row has nothing for the prompt"), ", ".join(one_line(name, 40) for name in own)
            )
        parts = [self.texts[0]]
        for name, text in zip(self.places, self.texts[1:], strict=True):
            parts += [fixed[name] if name in fixed else written(values.get(name)), text]
        return "".join(parts)


def parse_template(text: str, where: str = "--prompt") -> Template:
    """Find the places of a prompt; `{{` and `}}` stand for braces.

    Raises:
        UsageError: a brace without its other half, or nothing between two.
    """
    texts, places, current, at = [], [], [], 0
    while at < len(text):
        letter = text[at]
        if letter not in "{}":
            end = min((found for found in (text.find("{", at), text.find("}", at)) if found >= 0), default=-1)
            end = len(text) if end < 0 else end
            current.append(text[at:end])
            at = end
        elif text[at : at + 2] == letter * 2:
            current.append(letter)
            at += 2
        else:
            end = text.find("}", at)
            name = text[at + 1 : end].strip("\n") if letter == "{" and end > at else ""
            if not name.strip() or "{" in name or "\n" in name:
                raise UsageError(
                    _("a brace in line {line} is no place of a column.", line=text.count("\n", 0, at) + 1),
                    where=where,
                    hint=_(
                        "Write a column as {place}, and a brace itself twice: {twice}.",
                        place="{name}",
                        twice="{{ }}",
                    ),
                )
            texts.append("".join(current))
            places.append(name)
            current, at = [], end + 1
    return Template((*texts, "".join(current)), tuple(places))


def check_places(template: Template, columns: Iterable[str], fixed: Iterable[str], where: str) -> None:
    """Raise `UsageError` unless there is something for every place.

    Args:
        columns: Those of the file, `fixed` what is known beside them.
    """
    known, others = list(columns), set(fixed)
    missing = [name for name in template.places if name not in known and name not in others]
    if not missing:
        return
    name = missing[0]
    near = difflib.get_close_matches(name, known, n=1) or [
        one for one in known if one.strip().casefold() == name.strip().casefold()
    ]
    if name in ("labels", "keys"):
        hint = _("Give --labels or --json-keys for it, or take {{{name}}} out of the prompt.", name=name)
    elif near:
        hint = _("Did you mean {{{name}}}?", name=one_line(near[0], 60))
    else:
        hint = _("A brace itself is written twice: {twice}.", twice="{{ }}")
    raise UsageError(
        _(
            "the prompt has {{{name}}}, and the file no such column. Columns: {columns}.",
            name=one_line(name, 60),
            columns=", ".join(some_of(known, SHOWN)) or _("none"),
        ),
        where=where,
        hint=hint,
    )


def written(value: Any) -> str:
    """A value as a prompt has it: text as it is, what is missing as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None or is_nan(value):
        return ""
    if isinstance(value, list | dict | tuple | bool):
        return orjson.dumps(plain(value), default=str).decode()
    return str(value)
