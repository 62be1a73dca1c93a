"""What to do next, in two ways: as a command line takes it, and as the values of fields, for a screen.

A hint that tells settings is made by `advise` of a sentence with places, each filled by `setting` (or, for a
command of this program, by `Command`). It is an ordinary text, that of the command line; a screen shows
`on_screen` instead, and can carry out `fixes`.
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

_BARE = re.compile(r"[A-Za-z_](?:[\w.-]*\w)?", re.ASCII)  # names that YAML takes as text as they stand
_NO_TEXT = ("true", "false", "yes", "no", "on", "off", "null")
_PLAIN = re.compile(r"[\w.,/:@%+=-]+", re.ASCII)  # what no shell reads anything into


class Command(str):
    """What to type, and what it is called on a screen."""

    on_screen: str

    def __new__(cls, typed: str, on_screen: str) -> Command:
        self = super().__new__(cls, typed)
        self.on_screen = on_screen
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (Command, (str(self), self.on_screen))


class Setting(str):
    """Settings as `--set` takes them; `fix` holds the values."""

    fix: dict[str, Any]

    def __new__(cls, typed: str, fix: Fix) -> Setting:
        self = super().__new__(cls, typed)
        self.fix = dict(fix)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (Setting, (str(self), self.fix))

    @property
    def on_screen(self) -> str:
        return ", ".join(f"{path} = {written(value)}" for path, value in self.fix.items())


class Hint(str):
    """A hint for a command line, `on_screen` the same for a screen, and `fixes` the ways that it tells."""

    on_screen: str
    fixes: tuple[dict[str, Any], ...]

    def __new__(cls, typed: str, on_screen: str, fixes: tuple[Fix, ...] = ()) -> Hint:
        self = super().__new__(cls, typed)
        self.on_screen, self.fixes = on_screen, tuple(map(dict, fixes))
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (Hint, (str(self), self.on_screen, self.fixes))


def advise(sentence: str) -> Hint:
    """The hint that a sentence makes, which `N_` has marked and filled."""
    if not isinstance(sentence, Sentence):
        said = _(sentence)
        return Hint(said, said)
    fixes: list[Fix] = []
    shown = {}
    for name, value in sentence.values.items():
        shown[name] = getattr(value, "on_screen", value)
        fixes += [value.fix] if isinstance(value, Setting) else getattr(value, "fixes", ())
    return Hint(_(sentence), _(Sentence(sentence.pattern, shown)), tuple(fixes))


def hints(*parts: str) -> Hint:
    """Hints one after the other."""
    filled = [part for part in parts if part]
    fixes = [fix for part in filled for fix in fixes_of(part)]
    return Hint(" ".join(filled), " ".join(map(on_screen, filled)), tuple(fixes))


def on_screen(hint: str) -> str:
    """What a screen shows of a hint."""
    return hint.on_screen if isinstance(hint, Hint) else hint


def fixes_of(hint: str) -> tuple[dict[str, Any], ...]:
    """The ways that a hint tells, each as values of fields."""
    return hint.fixes if isinstance(hint, Hint) else ()


def words_of(error: BaseException) -> str:
    """What a screen says of an error: what is wrong, where, and what to do."""
    if not isinstance(error, TunerError):
        return str(error)
    what = f"{error.where}: {error.what}" if error.where else error.what
    return f"{what} {on_screen(error.hint)}".strip()


def setting(fix: Fix) -> Setting:
    """Values as a shell takes them: `--set task=sft --set 'data.columns={prompt: q}'`."""
    return Setting(
        " ".join(f"--set {_quoted(f'{path}={written(value)}')}" for path, value in fix.items()), fix
    )


def written(value: Any) -> str:
    """A value as YAML on one line; names are quoted where they need it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_name(str(key))}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return _name(value)
    import yaml  # the first frame of the workbench does not wait for it

    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _name(name: str) -> str:
    """A text as YAML takes it; what a terminal would not show as it is, is escaped."""
    if _BARE.fullmatch(name) and name.lower() not in _NO_TEXT:
        return name
    return json.dumps(name, ensure_ascii=one_line(name) != name)


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"
