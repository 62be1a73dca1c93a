"""From YAML and `--set` to a `RunConfig`; every mistake is named with its line and the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tui_tuner.config import consent
from tui_tuner.config.options import options
from tui_tuner.config.paths import absolute_paths, take_from_beside
from tui_tuner.config.presets import presets_folder
from tui_tuner.config.problems import Places, problems_of, unknown_key
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_path, validated
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
MAX_CONFIG_BYTES = 4 * 1024 * 1024


def load_config(
    path: str | Path, sets: Iterable[str] = (), say: Callable[[str], None] = lambda note: None
) -> RunConfig:
    """Read a YAML file, apply `section.field=value` settings, and validate.

    Relative paths in the file are looked for next to it, then in the working folder; those of a preset
    of this package, and of settings, in the working folder.

    Args:
        say: Told what the user should know of the paths.

    Raises:
        ConfigError: the file is missing, no YAML, or holds unknown, invalid or contradictory values.
        UsageError: a setting that is none.
    """
    file = Path(path)
    values, lines = read_yaml(file)
    told = apply_sets({}, sets := list(sets))
    written = told.get("model.name", "").partition("=")[2] or _name_of_model(values)
    if file.resolve().parent != presets_folder():
        for note in take_from_beside(values, file.parent, told):
            say(note)
    apply_sets(values, sets)
    config = validated(RunConfig, values, Places(one_line(path), lines, told))
    if _HUB_ID.fullmatch(written) and Path(config.model.name).is_dir():
        say(
            _(
                "model.name: the folder {path} is taken, not the model {name} of a hub.",
                path=one_line(Path(config.model.name).resolve()),
                name=one_line(written),
            )
        )
    if consent.FIELD not in told and consent.of_a_run(file):
        agree = _("Look at that code, and agree with --set {field}=true.", field=consent.FIELD)
        consent.require(config.model, str(path), agree)
    return config


def _name_of_model(values: Mapping[str, Any]) -> str:
    model = values.get("model")
    return str(model.get("name", "")) if isinstance(model, Mapping) else ""


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
    return validated(RunConfig, values, Places(where, lines or {}))


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
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise ConfigError(_("is no regular file."), where=shown)
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
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        raise ConfigError(
            _("is not valid YAML: {problem}.", problem=problem), where=place, hint=_yaml_hint(problem, line)
        ) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(_("is not valid YAML: {error}.", error=one_line(error)), where=shown) from None
    if not isinstance(values, dict):
        raise ConfigError(_("holds no `key: value` lines."), where=shown)
    return values, lines


def _yaml_hint(problem: str, line: str) -> str:
    """What people do that YAML does not take; empty where it is something else."""
    if "escape" in problem or "hexadecimal" in problem:
        return _(
            "In double quotes a backslash begins an escape: write a path of Windows in single quotes, "
            "or with /."
        )
    if "\t" in line:
        return _("There is a tab in this line: YAML takes spaces.")
    if re.search(r"^[^#'\"]*:[^ \n].*:|: .*: ", line):
        return _("Text with a colon and a space in it needs quotes.")
    return ""


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


def apply_sets(values: dict[str, Any], sets: Iterable[str]) -> dict[str, str]:
    """Apply `section.field=value`; the value is YAML, so `null`, lists and numbers work.

    Returns:
        Each setting by the path that it changes.

    Raises:
        UsageError: no `=`, an unknown field, or a value that is no YAML.
    """
    told: dict[str, str] = {}
    for item in sets:
        path, equals, raw = item.partition("=")
        path = path.strip()
        if not equals:
            what = _("--set {text!r} has no `=`.", text=one_line(item))
            raise UsageError(what, hint=_("Write --set training.epochs=1"))
        if path not in options() and not any(path.startswith(f"{known}.") for known in options()):
            raise UsageError(unknown_key(path, _parsed_set(path, raw)), where="--set")
        set_path(values, path, _parsed_set(path, raw))
        told[path] = item
    return told


def _parsed_set(path: str, raw: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        problem = one_line(getattr(error, "problem", None) or str(error))
        raise UsageError(
            _("--set {path}: {raw!r} is not a YAML value.", path=one_line(path), raw=one_line(raw)),
            hint=_yaml_hint(problem, raw),
        ) from None


def dump_config(config: RunConfig, changed_only: bool = False) -> str:
    """YAML of a config, in the order of the schema; with `changed_only`, without the defaults."""
    values = config.model_dump(mode="json", exclude_defaults=changed_only)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _index(node: yaml.Node, prefix: str, lines: dict[str, int], shown: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        if path in lines:
            raise ConfigError(
                _("{path} stands twice.", path=one_line(path)),
                where=f"{shown}:{key.start_mark.line + 1}",
                hint=_("It stands on line {line} too: bring the two together.", line=lines[path]),
            )
        lines[path] = key.start_mark.line + 1
        _index(value, f"{path}.", lines, shown)


__all__ = ["absolute_paths", "apply_sets", "build_config", "config_problems", "dump_config", "load_config"]
__all__ += ["read_config", "read_yaml"]
