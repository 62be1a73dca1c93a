"""Prompts with {column} placeholders, filled with the values of a row. Nothing in them is evaluated."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tui_tuner.data.formats.parts.values import is_empty, is_nan
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.wire import convert_to_plain_json
from tui_tuner.text import join_first_names, one_line

SHOWN = 12  # columns in a sentence


@dataclass(frozen=True)
class Template:
    """Alternating texts and placeholders, beginning and ending with a text.

    Args:
        texts: One more than placeholders.
        places: The names between braces, as written.
    """

    texts: tuple[str, ...]
    places: tuple[str, ...]

    def fill_in_values(self, values: Mapping[str, Any], fixed: Mapping[str, str]) -> str:
        """Fill in the values of a row.

        Args:
            fixed: Values that are the same for every row, such as the list of labels.

        Raises:
            RowProblem: the row has no value for any placeholder.
        """
        own = [name for name in self.places if name not in fixed]
        if own and all(is_empty(values.get(name)) for name in own):
            raise RowProblem(
                N_("the row has no values for the prompt"), ", ".join(one_line(name, 40) for name in own)
            )
        parts = [self.texts[0]]
        for name, text in zip(self.places, self.texts[1:], strict=True):
            parts += [fixed[name] if name in fixed else format_prompt_value(values.get(name)), text]
        return "".join(parts)


def parse_template(text: str, where: str = "--prompt") -> Template:
    """Parse the placeholders of a prompt; `{{` and `}}` stand for braces.

    Raises:
        UsageError: a brace without its counterpart, or an empty name.
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
                    _("a brace in line {line} is not a valid placeholder.", line=text.count("\n", 0, at) + 1),
                    where=where,
                    hint=_(
                        "Write a column as {place}, and double a literal brace: {twice}.",
                        place="{name}",
                        twice="{{ }}",
                    ),
                )
            texts.append("".join(current))
            places.append(name)
            current, at = [], end + 1
    return Template((*texts, "".join(current)), tuple(places))


def check_prompt_placeholders(
    template: Template, columns: Iterable[str], fixed: Iterable[str], where: str
) -> None:
    """Raise `UsageError` if a placeholder has neither a column nor a fixed value.

    Args:
        columns: Columns of the file; `fixed`: names of the fixed values.
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
        hint = _("Give --labels or --json-keys for it, or remove {{{name}}} from the prompt.", name=name)
    elif near:
        hint = _("Did you mean {{{name}}}?", name=one_line(near[0], 60))
    else:
        hint = _("Double a literal brace: {twice}.", twice="{{ }}")
    raise UsageError(
        _(
            "the prompt has {{{name}}}, but the file has no such column. Columns: {columns}.",
            name=one_line(name, 60),
            columns=", ".join(join_first_names(known, SHOWN)) or _("none"),
        ),
        where=where,
        hint=hint,
    )


def format_prompt_value(value: Any) -> str:
    """Format a value for a prompt: text unchanged, missing values empty, others as JSON."""
    if isinstance(value, str):
        return value
    if value is None or is_nan(value):
        return ""
    if isinstance(value, list | dict | tuple | bool):
        return orjson.dumps(convert_to_plain_json(value), default=str).decode()
    return str(value)
