"""Messages about invalid configs: a sentence for each field, its place, and a guess at unknown keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import ValidationError

from tui_tuner.config import peers
from tui_tuner.config.options import Option, find_known_field, list_options
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line

MOST_PROBLEMS = 200  # of a config that are examined
MOST_TOLD = 30  # of them that one error lists
_CLOSE = 0.75  # similarity at which a name counts as a misspelling; any lower, and `lr` would match `loss`


@dataclass(frozen=True)
class Places:
    """The sources of a config's values, for messages.

    Args:
        file: The file, or a name for another source.
        lines: The line of each dotted path in it.
        sets: Each `--set` by the path that it changed.
    """

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    def find_place(self, path: str) -> str:
        """Return `--set …` or `file:line`; the file alone if the path is not in it."""
        line = self.lines.get(path)
        return self._find_setting(path) or (f"{self.file}:{line}" if self.file and line else self.file)

    def knows_path(self, path: str) -> bool:
        """Return whether the file or a setting gives the path a value."""
        return path in self.lines or bool(self._find_setting(path))

    def find_blamed(self, path: str, sentence: str) -> str:
        """Return the source of a problem: the setting that caused a conflict, else `find_place`."""
        if not self._find_setting(path):
            for told in self.sets:
                if re.search(rf"(?<![\w.]){re.escape(told)}(?![\w.])", sentence):
                    return self._find_setting(told)
        return self.find_place(path)

    def make_error(self, problems: Sequence[tuple[str, str]]) -> ConfigError:
        """Return one error that lists the problems, each with its place."""
        (first, sentence), *others = problems
        lines = [sentence]
        others = others[: MOST_TOLD - 1]
        for path, more in others:
            place = self.find_place(path)
            lines.append(f"{place}: {more}" if place else more)
        if len(problems) > MOST_TOLD:
            lines.append(_("There are more problems."))
        peer = peers.name_peer_trainer(path for path, _unused in problems if path not in list_options())
        if peer:
            lines.append(
                _(
                    "These look like the keys of a config for {peer}; `tui-tuner presets` lists examples "
                    "to start from.",
                    peer=peer,
                )
            )
        return ConfigError(
            "\n".join(lines), where=self.find_blamed(first, sentence), field=find_path_field(first)
        )

    def _find_setting(self, path: str) -> str:
        """Return the `--set` that changed a path; empty if there is none."""
        for told, item in self.sets.items():
            if told == path or path.startswith(f"{told}.") or told.startswith(f"{path}."):
                return f"--set {one_line(item, 80)}"
        return ""


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return " " + _("Did you mean {name}?", name=close[0]) if close else ""


def describe_unknown_key(path: str, value: Any = None) -> str:
    """Return a sentence about an unknown key, with the key that was probably meant."""
    if any(known.startswith(f"{path}.") for known in list_options()):
        return f"{_('{name} is a section, not a field.', name=path)} {_fields_of(path)}"
    what = _("unknown key {name!r}.", name=one_line(path))
    return f"{what} {_suggest_field(path, value)}".strip()


def find_path_field(path: str) -> str:
    """Return the field that a path names or lies in; the path itself if there is none."""
    return find_known_field(path) or one_line(path, 80)


def list_validation_problems(error: ValidationError) -> list[tuple[str, str]]:
    """Return (path, sentence) for each invalid field."""
    found: dict[str, str] = {}
    for detail in islice(error.errors(include_url=False, include_context=False), MOST_PROBLEMS):
        path = _path_of(detail["loc"])
        if detail["type"] == "extra_forbidden":
            found[path] = describe_unknown_key(path, detail["input"])
        elif detail["type"] == "invalid_key":
            found[path] = describe_unknown_key(path)
        elif detail["type"] == "value_error" and not detail["loc"]:
            for problem in detail["msg"].removeprefix("Value error, ").splitlines():
                name, _unused, sentence = problem.partition(": ")
                found.setdefault(name, f"{name}: {sentence}.")
        elif path in list_options():
            if detail["type"] == "value_error":
                sentence = detail["msg"].removeprefix("Value error, ")
                found[path] = f"{path}: {one_line(sentence)}."
            else:
                found.setdefault(path, _describe_expected(list_options()[path], detail["input"]))
        else:
            got = one_line(repr(detail["input"]), 80)
            sentence = _("{problem}, got {got}.", problem=one_line(detail["msg"]), got=got)
            found.setdefault(path, f"{one_line(path)}: {sentence}")
    return list(found.items())


def _describe_expected(option: Option, value: Any) -> str:
    """Return the expected and the given value, with a note if YAML probably misread the text."""
    got = _("nothing") if value is None else one_line(repr(value), 80)
    sentence = f"{option.path}: " + _("expected {what}, got {got}.", what=option.describe_expected(), got=got)
    if value is None:
        return f"{sentence} {_('Remove the field to use its default.')}"
    if isinstance(value, bool) and bool not in option.kinds:
        why = _("YAML reads yes, no, on and off as true and false; put the word in quotes.")
        return f"{sentence} {why}"
    if isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value) and {int, float} & set(option.kinds):
        return f"{sentence} {_('Write decimals with a dot.')}"
    return sentence


def _path_of(location: tuple[int | str, ...]) -> str:
    """Return the dotted path of an error, without the branches of a union that pydantic appends."""
    path = ""
    # pydantic appends the branch of a union ("int", "literal['auto']") to the location of an error.
    for part in location:
        longer = f"{path}.{part}" if path else str(part)
        if path in list_options():
            break
        path = longer
    return path


def _suggest_field(path: str, value: Any) -> str:
    """Return a guess at an unknown key: a field of that name elsewhere, a peer's name, or a misspelt one."""
    section, _unused, name = path.rpartition(".")
    if name.isdigit():
        return _("A comma separates values here; write decimals with a dot.")
    if peers.knows_value(path, value):
        return peers.hint_at_peer_field(path, value)
    elsewhere = [known for known in list_options() if known.rpartition(".")[2] == name]
    if elsewhere:
        return _("Did you mean {name}?", name=elsewhere[0])
    told = peers.hint_at_peer_field(path, value)
    if told:
        return told
    inside = {
        known.rpartition(".")[2]: known for known in list_options() if known.rpartition(".")[0] == section
    }
    sections = {known.split(".")[0]: known.split(".")[0] for known in list_options() if not section}
    anywhere = {known.rpartition(".")[2]: known for known in list_options()}
    for names in ({**sections, **inside}, anywhere):
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=_CLOSE)
        if close:
            return _("Did you mean {name}?", name=names[close[0]])
    known_sections = sorted({known.split(".")[0] for known in list_options() if "." in known})
    if not inside and not sections:
        near = difflib.get_close_matches(section, known_sections, n=1, cutoff=_CLOSE)
        if near:
            return _("Did you mean the section {name}? {fields}", name=near[0], fields=_fields_of(near[0]))
        return _("The sections are {names}.", names=", ".join(known_sections))
    spelt = path.lower().replace("-", ".")
    whole = difflib.get_close_matches(spelt, list_options(), n=1, cutoff=_CLOSE) if not section else []
    if whole:
        return _("Did you mean {name}?", name=whole[0])
    return _("Known keys are {names}.", names=", ".join(dict.fromkeys([*inside, *sorted(sections)])))


def _fields_of(section: str) -> str:
    """Return a sentence that lists the fields of a section."""
    names = [known.removeprefix(f"{section}.") for known in list_options() if known.startswith(f"{section}.")]
    return _("Its fields are {names}.", names=", ".join(names))
