"""Hints in two forms: as text for the command line, and as values of fields that a screen can apply.

`build_hint` makes a hint from a sentence with places, which `write_setting` fills with settings and `Command`
with commands of this program. A hint is an ordinary string, the text for the command line; a screen shows
`on_screen` instead and can apply its `fixes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.locales import Sentence, _
from tui_tuner.text import one_line

Fix = Mapping[str, Any]  # values by the dotted names of their fields

_BARE = re.compile(r"[A-Za-z_](?:[\w.-]*\w)?", re.ASCII)  # names that YAML reads as text without quotes
_NO_TEXT = ("true", "false", "yes", "no", "on", "off", "null")
_PLAIN = re.compile(r"[\w.,/:@%+=-]+", re.ASCII)  # characters without a meaning to any shell


class Command(str):
    """A command to type, and its name on a screen."""

    on_screen: str

    def __new__(cls, typed: str, on_screen: str) -> Command:
        self = super().__new__(cls, typed)
        self.on_screen = on_screen
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # Without this, unpickling would call __new__ with the text alone and fail.
        return (Command, (str(self), self.on_screen))


class Setting(str):
    """Settings in the form of `--set`; `fix` holds the values."""

    fix: dict[str, Any]

    def __new__(cls, typed: str, fix: Fix) -> Setting:
        self = super().__new__(cls, typed)
        self.fix = dict(fix)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (Setting, (str(self), self.fix))

    @property
    def on_screen(self) -> str:
        return ", ".join(f"{path} = {write_shell_value(value)}" for path, value in self.fix.items())


class Hint(str):
    """A hint for the command line; `on_screen` is its text for a screen, `fixes` are the fixes it offers."""

    on_screen: str
    fixes: tuple[dict[str, Any], ...]

    def __new__(cls, typed: str, on_screen: str, fixes: tuple[Fix, ...] = ()) -> Hint:
        self = super().__new__(cls, typed)
        self.on_screen, self.fixes = on_screen, tuple(map(dict, fixes))
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (Hint, (str(self), self.on_screen, self.fixes))


def build_hint(sentence: str) -> Hint:
    """Return the hint for a sentence that `N_` has marked and filled."""
    if not isinstance(sentence, Sentence):
        said = _(sentence)
        return Hint(said, said)
    fixes: list[Fix] = []
    shown = {}
    for name, value in sentence.values.items():
        shown[name] = getattr(value, "on_screen", value)
        fixes += [value.fix] if isinstance(value, Setting) else getattr(value, "fixes", ())
    return Hint(_(sentence), _(Sentence(sentence.pattern, shown)), tuple(fixes))


def join_hints(*parts: str) -> Hint:
    """Join hints into one that offers the fixes of all."""
    filled = [part for part in parts if part]
    fixes = [fix for part in filled for fix in list_hint_fixes(part)]
    return Hint(" ".join(filled), " ".join(map(format_screen_hint, filled)), tuple(fixes))


def format_screen_hint(hint: str) -> str:
    """Return the text that a screen shows of a hint."""
    return hint.on_screen if isinstance(hint, Hint) else hint


def list_hint_fixes(hint: str) -> tuple[dict[str, Any], ...]:
    """Return the fixes that a hint offers, each as values of fields."""
    return hint.fixes if isinstance(hint, Hint) else ()


def format_error_words(error: BaseException) -> str:
    """Format an error for a screen: its place, the problem, and what to do."""
    if not isinstance(error, TunerError):
        return str(error)
    what = f"{error.where}: {error.what}" if error.where else error.what
    return f"{what} {format_screen_hint(error.hint)}".strip()


def write_setting(fix: Fix) -> Setting:
    """Format values for a shell: `--set task=sft --set 'data.columns={prompt: q}'`."""
    return Setting(
        " ".join(f"--set {_quote_text(f'{path}={write_shell_value(value)}')}" for path, value in fix.items()),
        fix,
    )


def write_shell_value(value: Any) -> str:
    """Format a value as YAML on one line, with names quoted if necessary."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_escape_name(str(key))}: {write_shell_value(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, str):
        return _escape_name(value)
    import yaml  # imported late, so that the first frame of the workbench need not wait

    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _escape_name(name: str) -> str:
    """Quote a text for YAML if necessary; characters that a terminal would not show are escaped."""
    if _BARE.fullmatch(name) and name.lower() not in _NO_TEXT:
        return name
    return json.dumps(name, ensure_ascii=one_line(name) != name)


def _quote_text(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"
