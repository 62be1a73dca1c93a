"""What is wrong with a config: a sentence for each field, its place, and what an unknown key may mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import ValidationError

from tui_tuner.config import peers
from tui_tuner.config.options import Option, known_field, options
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line

MOST_PROBLEMS = 200  # of a config are looked at
MOST_TOLD = 30  # of them are told at once
_CLOSE = 0.75  # of a name to be taken for another misspelt; below, `lr` would be `loss`


@dataclass(frozen=True)
class Places:
    """Where the values of a config are from.

    Args:
        file: The file, or what else they are from.
        lines: The line of each dotted path in it.
        sets: Each `--set` by the path that it changed.
    """

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    def of(self, path: str) -> str:
        """`--set …` or `file:line`; the file alone where the path stands nowhere in it."""
        line = self.lines.get(path)
        return self._set(path) or (f"{self.file}:{line}" if self.file and line else self.file)

    def knows(self, path: str) -> bool:
        """Whether a path was given a value, and is not at its default."""
        return path in self.lines or bool(self._set(path))

    def blamed(self, path: str, sentence: str) -> str:
        """Where what is wrong comes from: the setting that brought two values into conflict, else `of`."""
        if not self._set(path):
            for told in self.sets:
                if re.search(rf"(?<![\w.]){re.escape(told)}(?![\w.])", sentence):
                    return self._set(told)
        return self.of(path)

    def error(self, problems: Sequence[tuple[str, str]]) -> ConfigError:
        """One error that tells all problems, each with its place."""
        (first, sentence), *others = problems
        lines = [sentence]
        others = others[: MOST_TOLD - 1]
        for path, more in others:
            place = self.of(path)
            lines.append(f"{place}: {more}" if place else more)
        if len(problems) > MOST_TOLD:
            lines.append(_("There is more that is wrong."))
        peer = peers.whose(path for path, _unused in problems if path not in options())
        if peer:
            lines.append(
                _(
                    "These look like the keys of a config for {peer}; `tui-tuner presets` has examples to "
                    "begin from.",
                    peer=peer,
                )
            )
        return ConfigError("\n".join(lines), where=self.blamed(first, sentence), field=field_of(first))

    def _set(self, path: str) -> str:
        """The setting that a path was changed by; empty if there is none."""
        for told, item in self.sets.items():
            if told == path or path.startswith(f"{told}.") or told.startswith(f"{path}."):
                return f"--set {one_line(item, 80)}"
        return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return " " + _("Did you mean {name}?", name=close[0]) if close else ""


def unknown_key(path: str, value: Any = None) -> str:
    """That a key is unknown, and which one may be meant."""
    if any(known.startswith(f"{path}.") for known in options()):
        return f"{_('{name} is a section, not a field.', name=path)} {_fields_of(path)}"
    what = _("unknown key {name!r}.", name=one_line(path))
    return f"{what} {_meant(path, value)}".strip()


def field_of(path: str) -> str:
    """The field that a path leads to or into; the path itself where there is none."""
    return known_field(path) or one_line(path, 80)


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """One (path, sentence) for each field that is wrong."""
    found: dict[str, str] = {}
    for detail in islice(error.errors(include_url=False, include_context=False), MOST_PROBLEMS):
        path = _path_of(detail["loc"])
        if detail["type"] == "extra_forbidden":
            found[path] = unknown_key(path, detail["input"])
        elif detail["type"] == "invalid_key":
            found[path] = unknown_key(path)
        elif detail["type"] == "value_error" and not detail["loc"]:
            for problem in detail["msg"].removeprefix("Value error, ").splitlines():
                name, _unused, sentence = problem.partition(": ")
                found.setdefault(name, f"{name}: {sentence}.")
        elif path in options():
            if detail["type"] == "value_error":
                sentence = detail["msg"].removeprefix("Value error, ")
                found[path] = f"{path}: {one_line(sentence)}."
            else:
                found.setdefault(path, _expected(options()[path], detail["input"]))
        else:
            got = one_line(repr(detail["input"]), 80)
            sentence = _("{problem}, got {got}.", problem=one_line(detail["msg"]), got=got)
            found.setdefault(path, f"{one_line(path)}: {sentence}")
    return list(found.items())


def _expected(option: Option, value: Any) -> str:
    """What a field takes and what it got, and what YAML may have made of the words."""
    got = _("nothing") if value is None else one_line(repr(value), 80)
    sentence = f"{option.path}: " + _("expected {what}, got {got}.", what=option.expects(), got=got)
    if value is None:
        return f"{sentence} {_('Leave the field out to keep its default.')}"
    if isinstance(value, bool) and bool not in option.kinds:
        why = _("YAML reads yes, no, on and off as true and false: put the word in quotes.")
        return f"{sentence} {why}"
    if isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value) and {int, float} & set(option.kinds):
        return f"{sentence} {_('Decimals are written with a dot.')}"
    return sentence


def _path_of(location: tuple[int | str, ...]) -> str:
    """Dotted path of an error; the branches of a union, which pydantic appends, are cut off."""
    path = ""
    for part in location:
        longer = f"{path}.{part}" if path else str(part)
        if path in options():
            break
        path = longer
    return path


def _meant(path: str, value: Any) -> str:
    """Which field an unknown key may mean: one of that name, a peer's, or a misspelt one."""
    section, _unused, name = path.rpartition(".")
    if name.isdigit():
        return _("A comma ends a value here: write decimals with a dot.")
    elsewhere = [known for known in options() if known.rpartition(".")[2] == name]
    if elsewhere:
        return _("Did you mean {name}?", name=elsewhere[0])
    told = peers.hint(path, value)
    if told:
        return told
    inside = {known.rpartition(".")[2]: known for known in options() if known.rpartition(".")[0] == section}
    sections = {known.split(".")[0]: known.split(".")[0] for known in options() if not section}
    anywhere = {known.rpartition(".")[2]: known for known in options()}
    for names in ({**sections, **inside}, anywhere):
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=_CLOSE)
        if close:
            return _("Did you mean {name}?", name=names[close[0]])
    known_sections = sorted({known.split(".")[0] for known in options() if "." in known})
    if not inside and not sections:
        near = difflib.get_close_matches(section, known_sections, n=1, cutoff=_CLOSE)
        if near:
            return _("Did you mean the section {name}? {fields}", name=near[0], fields=_fields_of(near[0]))
        return _("The sections are {names}.", names=", ".join(known_sections))
    spelt = path.lower().replace("-", ".")
    whole = difflib.get_close_matches(spelt, options(), n=1, cutoff=_CLOSE) if not section else []
    if whole:
        return _("Did you mean {name}?", name=whole[0])
    return _("Known are {names}.", names=", ".join(dict.fromkeys([*inside, *sorted(sections)])))


def _fields_of(section: str) -> str:
    """The sentence that names the fields of a section."""
    names = [known.removeprefix(f"{section}.") for known in options() if known.startswith(f"{section}.")]
    return _("Its fields are {names}.", names=", ".join(names))
