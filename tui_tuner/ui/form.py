"""The settings form without a screen: its sections, and the way from a typed text to a value and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tui_tuner.config.applying import dependent, getter, has_effect, methods_of
from tui_tuner.config.load import build_config, config_problems
from tui_tuner.config.options import Option, known_field, options, section_help
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.told import word_told
from tui_tuner.config.values import set_path
from tui_tuner.config.writing.flat import inline
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.locales import _
from tui_tuner.text import one_line

SECTIONS: dict[str, str] = {
    "model": _("Model"),
    "data": _("Data"),
    "data.cleaning": _("Cleaning"),
    "method": _("Method"),
    "training": _("Training"),
    "evaluation": _("Evaluation"),
    "output": _("Output"),
    "hardware": _("Hardware"),
}


def section_of(path: str) -> str:
    """The section of the form that a field, or a key inside it, stands in."""
    if path.startswith("data.cleaning"):
        return "data.cleaning"
    first = path.split(".")[0]
    return first if first in SECTIONS else "model"


def section_options(section: str) -> list[Option]:
    """The fields of a section, in the order of the schema, the advanced ones last."""
    found = [option for path, option in options().items() if section_of(path) == section]
    return sorted(found, key=lambda option: option.advanced)


def section_words(section: str) -> str:
    """One line about a section."""
    return section_help().get(section, _("Clean-up of rows. Every step counts what it does."))


def editor(option: Option) -> str:
    """Which widget fits: `select`, `switch` or `input`."""
    if option.only_choices or (option.kinds == (bool,) and option.choices):
        return "select"
    return "switch" if option.kinds == (bool,) and not option.optional else "input"


def select_words(option: Option, values: Mapping[str, Any] | None = None) -> list[str]:
    """What a select offers in a draft: of the methods those that can train its task, and the one it has."""
    words = list(option.choices)
    if option.path == "method.kind" and values is not None:
        fitting = (*methods_of(str(at(values, "task"))), str(value_of(values, option)))
        words = [word for word in words if word in fitting]
    return words if option.only_choices else [*words, "true", "false"]


def word_help(option: Option, word: str) -> str:
    """One line about a word that a field takes, untranslated; empty where nothing is told of it."""
    return word_told(option.path, word)


def applies(values: Mapping[str, Any], path: str) -> bool:
    """Whether a field, or a key inside it, has an effect on a run of the draft."""
    return has_effect(known_field(path) or path, getter(values))


def applied(values: Mapping[str, Any]) -> dict[str, Any]:
    """A draft without what has no effect: it stays in the draft, for task and method may change back."""
    get = getter(values)
    return without(values, [path for path in dependent() if not has_effect(path, get)])


def value_of(values: Mapping[str, Any], option: Option) -> Any:
    """The value in a draft, or the default."""
    return at(values, option.path)


def at(values: Mapping[str, Any], path: str) -> Any:
    """The value of a field in a draft, or its default."""
    return getter(values)(path)


def given(values: Any, path: str) -> Any:
    """What a draft holds under a dotted name; None where it holds nothing."""
    for part in path.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def unknown(values: Mapping[str, Any]) -> list[str]:
    """What a draft holds under names that no field has, or in place of a section."""
    return list(_unknown(values, ""))


def _unknown(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in options():
            continue
        section = any(known.startswith(f"{path}.") for known in options())
        if section and isinstance(value, Mapping):
            yield from _unknown(value, f"{path}.")
        elif not section or value is not None:
            yield path


def differing(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a draft sets that is no default, by the dotted names."""
    found = {path: value_of(values, option) for path, option in options().items() if is_set(values, option)}
    return {**found, **{path: given(values, path) for path in unknown(values)}}


def without(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """A draft without these keys."""
    kept = copy.deepcopy(dict(values))
    for path in paths:
        inner, parts = kept, path.split(".")
        while len(parts) > 1 and isinstance(inner.get(parts[0]), dict):
            inner = inner[parts.pop(0)]
        inner.pop(".".join(parts), None)
    return kept


def is_set(values: Mapping[str, Any], option: Option) -> bool:
    """True if the draft differs from the default."""
    return bool(value_of(values, option) != option.default)


def show(value: Any) -> str:
    """A value as text for an input: empty for null and [], YAML on one line for other lists and mappings."""
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    return inline(value)


def parse(option: Option, text: str) -> Any:
    """What a typed text means for a field.

    Raises:
        ValueError: with a sentence, if the text is no value at all.
    """
    text = text.strip()
    if not text:
        if option.optional:
            return None
        if option.default == []:
            return []
        raise ValueError(_("{path}: expected {what}.", path=option.path, what=option.expects()))
    if text in option.choices:
        return text
    if option.optional and text in ("null", "~"):
        return None
    for kind in (int, float):
        if kind in option.kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if text[0] in "[{" and (list in option.kinds or dict in option.kinds):
        return _yaml(option, text)
    if bool in option.kinds and text in ("true", "false"):
        return text == "true"
    if option.kinds == (dict,) or (list in option.kinds and str not in option.kinds):
        return _yaml(option, text)
    return text


def _yaml(option: Option, text: str) -> Any:
    try:
        return parse_yaml(text)[0]
    except BadYaml:
        what = _("a list such as [a, b]") if list in option.kinds else _("a mapping such as {a: b}")
        got = one_line(text, 40)
        raise ValueError(
            _("{path}: expected {what}, got {got}.", path=option.path, what=what, got=got)
        ) from None


def config_of(values: Mapping[str, Any]) -> RunConfig:
    """The config that a draft is, without what has no effect.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    return build_config(applied(values))


def problems(values: Mapping[str, Any], untyped: Mapping[str, str]) -> dict[str, str]:
    """The sentence for each field that is wrong: what could not be parsed, then what the config says.

    Args:
        untyped: Fields whose text is no value, with their sentence.
    """
    found = dict(config_problems(applied(values)))
    found.update({path: sentence for path, sentence in untyped.items() if applies(values, path)})
    return found


def take_texts(values: dict[str, Any], texts: dict[str, str]) -> dict[str, str]:
    """Why each text of a draft is no value of its field. Those that are one by now become it, in place."""
    wrong = {}
    for path, text in tuple(texts.items()):
        try:
            value = parse(options()[path], text)
        except ValueError as error:
            wrong[path] = str(error)
            continue
        except KeyError:
            value = text  # no field has this name any more: it is shown as such
        put(values, path, value)
        del texts[path]
    return wrong


def problem_of(path: str, found: Mapping[str, str]) -> str:
    """The sentence for a field, or for a key inside it."""
    if path in found:
        return found[path]
    return next((sentence for key, sentence in found.items() if key.startswith(f"{path}.")), "")


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a field of a draft."""
    set_path(values, path, value)
