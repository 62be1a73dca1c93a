"""The settings form without a screen: its sections, and the conversion of typed text to values and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tui_tuner.config.applying import has_effect, list_dependent_fields, list_task_methods, make_field_getter
from tui_tuner.config.kinds import optimizers
from tui_tuner.config.kinds.optimizers import advise_install, explain_absence
from tui_tuner.config.load import build_config, find_config_problems
from tui_tuner.config.options import Option, find_known_field, list_options, list_section_helps
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.word_help import describe_option_word
from tui_tuner.config.values import set_config_path
from tui_tuner.config.writing.flat import write_inline_yaml
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


def find_form_section(path: str) -> str:
    """Return the form section of a field, or of a key inside it."""
    # The only section below a section; it must be tested before its parent.
    if path.startswith("data.cleaning"):
        return "data.cleaning"
    first = path.split(".")[0]
    return first if first in SECTIONS else "model"


def list_section_options(section: str) -> list[Option]:
    """Return the fields of a section in the order of the schema, advanced ones last."""
    found = [option for path, option in list_options().items() if find_form_section(path) == section]
    return sorted(found, key=lambda option: option.advanced)


def describe_form_section(section: str) -> str:
    """Describe a section in one line."""
    return list_section_helps().get(section, _("Clean-up of rows. Every step counts what it does."))


def choose_field_editor(option: Option) -> str:
    """Choose the widget of a field: `select`, `switch` or `input`."""
    if option.only_choices or (option.kinds == (bool,) and option.choices):
        return "select"
    # A switch has two positions, so a field that may also be null needs an input.
    return "switch" if option.kinds == (bool,) and not option.optional else "input"


def list_select_words(option: Option, values: Mapping[str, Any] | None = None) -> list[str]:
    """Return a select's words; for the method, those that can train the draft's task, and the current one."""
    words = list(option.choices)
    if option.path == "method.kind" and values is not None:
        # The current method stays, even if it does not fit: a select without its own value raises.
        fitting = (
            *list_task_methods(str(find_draft_value(values, "task"))),
            str(get_option_value(values, option)),
        )
        words = [word for word in words if word in fitting]
    return words if option.only_choices else [*words, "true", "false"]


def describe_field_word(option: Option, word: str) -> str:
    """Describe a word that a field takes in one line, untranslated; empty if there is no description."""
    return describe_option_word(option.path, word)


def is_field_effective(values: Mapping[str, Any], path: str) -> bool:
    """Return whether a field, or a key inside it, affects a run of the draft."""
    return has_effect(find_known_field(path) or path, make_field_getter(values))


def drop_ineffective_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft without ineffective fields; the draft keeps them, as its task may change back."""
    get = make_field_getter(values)
    return drop_draft_keys(values, [path for path in list_dependent_fields() if not has_effect(path, get)])


def get_option_value(values: Mapping[str, Any], option: Option) -> Any:
    """Return the value of an option in a draft, or its default."""
    return find_draft_value(values, option.path)


def find_draft_value(values: Mapping[str, Any], path: str) -> Any:
    """Return the value of a field in a draft, or its default."""
    return make_field_getter(values)(path)


def find_given(values: Any, path: str) -> Any:
    """Return what a draft itself holds under a dotted name, without defaults; None if nothing."""
    for part in path.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def list_unknown_keys(values: Mapping[str, Any]) -> list[str]:
    """List the dotted names in a draft that no field has, or that hold a value in place of a section."""
    return list(_iterate_unknown_keys(values, ""))


def _iterate_unknown_keys(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in list_options():
            continue
        section = any(known.startswith(f"{path}.") for known in list_options())
        if section and isinstance(value, Mapping):
            yield from _iterate_unknown_keys(value, f"{path}.")
        # An empty section in YAML is null: nothing is set there, so nothing is wrong.
        elif not section or value is not None:
            yield path


def list_differing_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a draft that differ from the defaults, by dotted name."""
    found = {
        path: get_option_value(values, option)
        for path, option in list_options().items()
        if is_field_set(values, option)
    }
    return {**found, **{path: find_given(values, path) for path in list_unknown_keys(values)}}


def drop_draft_keys(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a deep copy of a draft without these dotted names."""
    kept = copy.deepcopy(dict(values))
    for path in paths:
        inner, parts = kept, path.split(".")
        while len(parts) > 1 and isinstance(inner.get(parts[0]), dict):
            inner = inner[parts.pop(0)]
        # What is left of the name is one part, or all of it where a section is missing or no mapping.
        inner.pop(".".join(parts), None)
    return kept


def is_field_set(values: Mapping[str, Any], option: Option) -> bool:
    """Return whether the draft differs from the default."""
    return bool(get_option_value(values, option) != option.default)


def format_field_value(value: Any) -> str:
    """Format a value for an input: empty for null and [], one line of YAML for other lists and mappings."""
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    # 2e-05 rather than 0.00002: learning rates are compared by their exponents.
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    return write_inline_yaml(value)


def parse_field_text(option: Option, text: str) -> Any:
    """Convert typed text to the value of a field.

    Raises:
        ValueError: the text is not a value; its message is a sentence for the user.
    """
    text = text.strip()
    if not text:
        if option.optional:
            return None
        if option.default == []:
            return []
        raise ValueError(_("{path}: expected {what}.", path=option.path, what=option.describe_expected()))
    # Words come first: `auto` in a field of numbers, and `none` where it is a word of the field.
    if text in option.choices:
        return text
    if option.optional and text in ("null", "~"):
        return None
    # int before float, so that 3 stays a whole number in a field that takes both.
    for kind in (int, float):
        if kind in option.kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    # Fields that take a string or a list: only brackets mean a list, since `a, b` may be a file name.
    if text[0] in "[{" and (list in option.kinds or dict in option.kinds):
        return _parse_yaml_text(option, text)
    if bool in option.kinds and text in ("true", "false"):
        return text == "true"
    if option.kinds == (dict,) or (list in option.kinds and str not in option.kinds):
        return _parse_yaml_text(option, text)
    return text


def _parse_yaml_text(option: Option, text: str) -> Any:
    try:
        return parse_yaml(text)[0]
    except BadYaml:
        what = _("a list such as [a, b]") if list in option.kinds else _("a mapping such as {a: b}")
        got = one_line(text, 40)
        raise ValueError(
            _("{path}: expected {what}, got {got}.", path=option.path, what=what, got=got)
        ) from None


def build_draft_config(values: Mapping[str, Any]) -> RunConfig:
    """Build the config of a draft, without fields that have no effect.

    Raises:
        ConfigError: the draft is invalid; it has a sentence for each problem.
    """
    return build_config(drop_ineffective_fields(values))


def find_draft_problems(values: Mapping[str, Any], untyped: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each invalid field: from parsing its text, or from validating the config.

    Args:
        untyped: Fields whose text is not a value, with their sentence.
    """
    found = dict(find_config_problems(drop_ineffective_fields(values)))
    # The config is valid, and runs on a machine that has the library
    missing = explain_absence(str(find_draft_value(values, optimizers.FIELD)))
    if missing:
        found.setdefault(optimizers.FIELD, f"{missing} {advise_install()}")
    # The text's own problem wins: the config only sees the value that was there before.
    found.update({path: sentence for path, sentence in untyped.items() if is_field_effective(values, path)})
    return found


def take_draft_texts(values: dict[str, Any], texts: dict[str, str]) -> dict[str, str]:
    """Parse a draft's texts again; valid ones become values in place. Returns a sentence for each other."""
    wrong = {}
    for path, text in tuple(texts.items()):
        try:
            value = parse_field_text(list_options()[path], text)
        except ValueError as error:
            wrong[path] = str(error)
            continue
        except KeyError:
            value = text  # no field has this name any more: shown among the unknown keys
        set_draft_value(values, path, value)
        del texts[path]
    return wrong


def find_field_problem(path: str, found: Mapping[str, str]) -> str:
    """Return the problem of a field, or of a key inside it; empty if there is none."""
    if path in found:
        return found[path]
    return next((sentence for key, sentence in found.items() if key.startswith(f"{path}.")), "")


def set_draft_value(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a field of a draft in place, by its dotted name."""
    set_config_path(values, path, value)
