"""From YAML and `--set` to a `RunConfig`; every mistake is named with its line and the nearest known key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tui_tuner.config.chat_templates import is_template_word
from tui_tuner.config.options import get_value, options
from tui_tuner.config.problems import nearest, problems_of
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_path, validated, with_values
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

MAX_CONFIG_BYTES = 4 * 1024 * 1024


def load_config(path: str | Path, sets: Iterable[str] = ()) -> RunConfig:
    """Read a YAML file, apply `section.field=value` settings, and validate.

    Raises:
        ConfigError: the file is missing, no YAML, or holds unknown, invalid or contradictory values.
    """
    values, lines = read_yaml(Path(path))
    apply_sets(values, sets)
    return build_config(values, where=one_line(path), lines=lines)


def read_config(path: Path) -> RunConfig:
    """The config in a YAML file, as it is.

    Raises:
        ConfigError: the file is damaged, or holds what no config has.
    """
    values, lines = read_yaml(path)
    return build_config(values, where=one_line(path), lines=lines)


def build_config(
    values: Mapping[str, Any], where: str = "", lines: Mapping[str, int] | None = None
) -> RunConfig:
    """Validate plain values.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    return validated(RunConfig, values, where, lines)


def config_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """For forms: the sentence for each dotted path that is wrong; empty if all is well."""
    try:
        RunConfig.model_validate(dict(values))
    except ValidationError as error:
        return dict(problems_of(error))
    return {}


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A YAML mapping and the line (from 1) of each dotted path in it.

    Raises:
        ConfigError: missing, unreadable, too large, not YAML, not a mapping, or a key twice.
    """
    shown = one_line(path)
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(_("is larger than 4 MiB, so it is no config."), where=shown)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = _("`tui-tuner presets` lists the ones that come with the package.")
        raise ConfigError(_("no such file."), where=shown, hint=hint) from None
    except UnicodeDecodeError:
        raise ConfigError(_("is not UTF-8 text, so it is no config."), where=shown) from None
    except OSError as error:
        raise ConfigError(_("cannot be read: {problem}.", problem=error.strerror), where=shown) from None
    try:
        values, lines = _parsed(text, shown)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{shown}:{mark.line + 1}" if mark else shown
        problem = one_line(getattr(error, "problem", None) or str(error))
        raise ConfigError(_("is not valid YAML: {problem}.", problem=problem), where=place) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(_("is not valid YAML: {error}.", error=one_line(error)), where=shown) from None
    if not isinstance(values, dict):
        raise ConfigError(_("holds no `key: value` lines."), where=shown)
    return values, lines


def _parsed(text: str, shown: str) -> tuple[Any, dict[str, int]]:
    """Values and lines of a YAML text; by libyaml where PyYAML has it, which is several times faster."""
    try:
        return _parsed_by(getattr(yaml, "CSafeLoader", yaml.SafeLoader), text, shown)
    except yaml.YAMLError:
        return _parsed_by(yaml.SafeLoader, text, shown)  # its messages say more


def _parsed_by(kind: Any, text: str, shown: str) -> tuple[Any, dict[str, int]]:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(
                _("is empty."), where=shown, hint=_("Start from a preset: `tui-tuner presets`.")
            )
        lines: dict[str, int] = {}
        _index(node, "", lines, shown)  # before merges are written into the nodes
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def apply_sets(values: dict[str, Any], sets: Iterable[str]) -> None:
    """Apply `section.field=value`; the value is YAML, so `null`, lists and numbers work.

    Raises:
        UsageError: no `=`, an unknown field, or a value that is no YAML.
    """
    for item in sets:
        path, equals, raw = item.partition("=")
        path = path.strip()
        if not equals:
            what = _("--set {text!r} has no `=`.", text=one_line(item))
            raise UsageError(what, hint=_("Write --set training.epochs=1"))
        if path not in options() and not any(path.startswith(f"{known}.") for known in options()):
            what = _("--set: unknown field {name!r}.", name=one_line(path))
            raise UsageError(f"{what}{nearest(path, options())}")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError:
            raise UsageError(
                _("--set {path}: {raw!r} is not a YAML value.", path=one_line(path), raw=one_line(raw))
            ) from None
        set_path(values, path, value)


def dump_config(config: RunConfig, changed_only: bool = False) -> str:
    """YAML of a config, in the order of the schema; with `changed_only`, without the defaults."""
    values = config.model_dump(mode="json", exclude_defaults=changed_only)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def absolute_paths(config: RunConfig) -> RunConfig:
    """The config with relative paths that exist made absolute: a run may be resumed from another folder."""
    changed: dict[str, Any] = {}
    for path, words in _PATHS.items():
        value = get_value(config, path)
        if not isinstance(value, str) or value in words:
            continue
        if path != "model.chat_template" or not is_template_word(value):
            changed[path] = _absolute(value)
    if isinstance(config.data.path, list):
        changed["data.path"] = [
            _absolute(source) if isinstance(source, str) else {**dict(source), "path": _absolute(source.path)}
            for source in config.data.path
        ]
    return with_values(config, changed)


_MODEL_WORDS = ("demo", "train")
# Fields that may hold a path, and the words that are never one
_PATHS: dict[str, tuple[str, ...]] = {
    "model.name": _MODEL_WORDS,
    "model.tokenizer": _MODEL_WORDS,
    "model.chat_template": (),
    "data.path": ("demo", "demo-corpus"),
    "data.validation": (),
    "data.cleaning.phrases": (),
}


def _absolute(path: str) -> str:
    found = Path(path).expanduser() if path else None
    return str(found.absolute()) if found is not None and found.exists() else path


def _index(node: yaml.Node, prefix: str, lines: dict[str, int], shown: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        if path in lines:
            raise ConfigError(
                _("{path} stands twice.", path=one_line(path)), where=f"{shown}:{key.start_mark.line + 1}"
            )
        lines[path] = key.start_mark.line + 1
        _index(value, f"{path}.", lines, shown)
