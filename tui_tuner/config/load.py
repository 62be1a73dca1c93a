"""Loading of a `RunConfig` from YAML and `--set`; errors name the line and the nearest known key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tui_tuner.config import consent
from tui_tuner.config.options import list_options
from tui_tuner.config.paths import make_paths_absolute, resolve_config_paths
from tui_tuner.config.presets import find_presets_folder
from tui_tuner.config.problems import Places, describe_unknown_key, find_path_field, list_validation_problems
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.tiny import take_tiny_values
from tui_tuner.config.values import set_config_path, validate_values
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_places = Places()
MAX_CONFIG_BYTES = 1024 * 1024


def load_config(
    path: str | Path, sets: Iterable[str] = (), say: Callable[[str], None] = lambda note: None
) -> RunConfig:
    """Read a YAML file, apply `section.field=value` settings, and validate.

    Relative paths in the file are looked up next to it, then in the working folder; those in presets of
    this package and in settings, in the working folder only.

    Args:
        say: Called with notes for the user, such as which of two files is used.

    Raises:
        ConfigError: the file is missing, not YAML, or has unknown, invalid or contradictory values.
        UsageError: a setting is malformed.
    """
    file = Path(path)
    values, lines = read_config_yaml(file)
    told = apply_config_sets({}, sets := list(sets))
    written = told.get("model.name", "").partition("=")[2] or _name_of_model(values)
    # A preset's relative paths mean the user's files, never files next to the preset in the package.
    preset = file.resolve().parent == find_presets_folder()
    if not preset:
        for note in resolve_config_paths(values, file.parent, told):
            say(note)
    apply_config_sets(values, sets)
    for note in take_tiny_values(values, told if preset else {*lines, *told}):
        say(note)
    global _places
    _places = Places(one_line(path), lines, told)
    config = validate_values(RunConfig, values, _places)
    if _HUB_ID.fullmatch(written) and os.path.isdir(config.model.name):
        say(
            _(
                "model.name: using the folder {path}, not the hub model {name}.",
                path=one_line(Path(config.model.name).resolve()),
                name=one_line(written),
            )
        )
    if consent.FIELD not in told and consent.is_run_config(file):
        agree = _("Review that code, then agree with --set {field}=true.", field=consent.FIELD)
        consent.require_code_consent(config.model, str(path), agree)
    return config


def find_field_source(field: str) -> str:
    """Return the source of a field in the config that was loaded last: `job.yaml:3` or `--set …`.

    Problems found later, such as a missing file, are reported with it.
    """
    return _places.find_place(field) if _places.knows_path(field) else ""


def _name_of_model(values: Mapping[str, Any]) -> str:
    model = values.get("model")
    return str(model.get("name", "")) if isinstance(model, Mapping) else ""


def read_config(path: Path) -> RunConfig:
    """Read and validate the config in a YAML file, without changes to its paths or values.

    Raises:
        ConfigError: the file is damaged or is not a valid config.
    """
    values, lines = read_config_yaml(path)
    return build_config(values, where=one_line(path), lines=lines)


def build_config(
    values: Mapping[str, Any], where: str = "", lines: Mapping[str, int] | None = None
) -> RunConfig:
    """Validate plain values and return them as a `RunConfig`.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    return validate_values(RunConfig, values, Places(where, lines or {}))


def find_config_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each dotted path that is invalid, for forms; empty if all are valid."""
    try:
        RunConfig.model_validate(dict(values))
    except ValidationError as error:
        return dict(list_validation_problems(error))
    return {}


def read_config_text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        ConfigError: missing, unreadable, too large, or not UTF-8 text.
    """
    shown = one_line(path)
    try:
        if path.exists() and not path.is_file():  # reading a device or a pipe may never end
            raise ConfigError(_("is not a regular file."), where=shown)
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(_("is larger than 1 MiB, so it is not a config."), where=shown)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        hint = _("`tui-tuner presets` lists the configs that come with the package.")
        raise ConfigError(_("no such file."), where=shown, hint=hint) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            _("is not UTF-8 text, so it is not a config."),
            where=f"{shown}:{error.object.count(10, 0, error.start) + 1}",
            hint=_("Save it as UTF-8."),
        ) from None
    except OSError as error:
        raise ConfigError(_("cannot be read: {problem}.", problem=error.strerror), where=shown) from None


def read_config_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return a YAML mapping and the line (from 1) of each dotted path in it.

    Raises:
        ConfigError: missing, unreadable, too large, not YAML, not a mapping, or with a duplicate key.
    """
    shown, text = one_line(path), read_config_text(path)
    try:
        values, lines = parse_yaml(text)
    except BadYaml as bad:
        raise ConfigError(
            bad.describe_problem(),
            where=f"{shown}:{bad.line}" if bad.line else shown,
            hint=bad.hint,
            field=find_path_field(bad.path),
        ) from None
    if values is None and not lines:
        raise ConfigError(_("is empty."), where=shown, hint=_("Start from a preset: `tui-tuner presets`."))
    if not isinstance(values, dict):
        raise ConfigError(_("contains no `key: value` lines."), where=shown)
    return values, lines


def apply_config_sets(values: dict[str, Any], sets: Iterable[str]) -> dict[str, str]:
    """Apply `section.field=value` settings in place; values are YAML, so `null`, lists and numbers work.

    Returns:
        Each setting, by the path that it changes.

    Raises:
        UsageError: no `=`, an unknown field, or a value that is not YAML.
    """
    told: dict[str, str] = {}
    for item in sets:
        path, equals, raw = item.partition("=")
        path = path.strip()
        if not equals:
            what = _("--set {text!r} has no `=`.", text=one_line(item))
            raise UsageError(what, hint=_("Write --set training.epochs=1"), field=one_line(path, 80))
        if path not in list_options() and not any(path.startswith(f"{known}.") for known in list_options()):
            told_of = describe_unknown_key(path, _parsed_set(path, raw))
            raise UsageError(told_of, where="--set", field=one_line(path, 80))
        set_config_path(values, path, _parsed_set(path, raw))
        told[path] = item
    return told


def _parsed_set(path: str, raw: str) -> Any:
    try:
        return parse_yaml(raw)[0]
    except BadYaml as bad:
        if bad.valid:
            told = _("--set {path}: {problem}.", path=one_line(path, 80), problem=bad.problem)
        else:
            told = _(
                "--set {path}: {raw!r} is not a YAML value.", path=one_line(path, 80), raw=one_line(raw, 80)
            )
        raise UsageError(told, hint=bad.hint, field=one_line(path, 80)) from None


def dump_config(config: RunConfig, changed_only: bool = False) -> str:
    """Return a config as YAML, in the order of the schema; with `changed_only`, without the defaults."""
    import yaml

    from tui_tuner.config.writing.flat import Dumper

    values = config.model_dump(mode="json", exclude_defaults=changed_only)
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


__all__ = [
    "apply_config_sets",
    "build_config",
    "dump_config",
    "find_config_problems",
    "load_config",
    "make_paths_absolute",
]
__all__ += ["read_config", "read_config_text", "read_config_yaml"]
