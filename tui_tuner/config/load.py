"""From YAML and `--set` to a `RunConfig`; every mistake is named with its line and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tui_tuner.config.options import options
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, UsageError
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


def build_config(
    values: Mapping[str, Any], where: str = "", lines: Mapping[str, int] | None = None
) -> RunConfig:
    """Validate plain values.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    try:
        return RunConfig.model_validate(dict(values))
    except ValidationError as error:
        problems = _problems(error)
        first, *others = [((lines or {}).get(path), sentence) for path, sentence in problems]
        place = f"{where}:{first[0]}" if where and first[0] else where
        more = [f"line {line}: {sentence}" if line else sentence for line, sentence in others]
        raise ConfigError("\n".join([first[1], *more]), where=place) from None


def config_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """For forms: the sentence for each dotted path that is wrong; empty if all is well."""
    try:
        RunConfig.model_validate(dict(values))
    except ValidationError as error:
        return dict(_problems(error))
    return {}


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A YAML mapping and the line (from 1) of each dotted path in it.

    Raises:
        ConfigError: missing, unreadable, too large, not YAML, not a mapping, or a key twice.
    """
    shown = one_line(path)
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError("is larger than 4 MiB, so it is no config.", where=shown)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = "`tui-tuner presets` lists the ones that come with the package."
        raise ConfigError("no such file.", where=shown, hint=hint) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text, so it is no config.", where=shown) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}.", where=shown) from None
    try:
        values, lines = _parsed(text, shown)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{shown}:{mark.line + 1}" if mark else shown
        problem = one_line(getattr(error, "problem", None) or str(error))
        raise ConfigError(f"is not valid YAML: {problem}.", where=place) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"is not valid YAML: {one_line(error)}.", where=shown) from None
    if not isinstance(values, dict):
        raise ConfigError("holds no `key: value` lines.", where=shown)
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
            raise ConfigError("is empty.", where=shown, hint="Start from a preset: `tui-tuner presets`.")
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
            raise UsageError(f"--set {one_line(item)!r} has no `=`.", hint="Write --set training.epochs=1")
        if path not in options() and not any(path.startswith(f"{known}.") for known in options()):
            raise UsageError(f"--set: unknown field {one_line(path)!r}.{nearest(path, options())}")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError:
            raise UsageError(f"--set {one_line(path)}: {one_line(raw)!r} is not a YAML value.") from None
        set_path(values, path, value)


def set_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts, making the ones between."""
    *parents, last = path.split(".")
    for part in parents:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value


def dump_config(config: RunConfig, changed_only: bool = False) -> str:
    """YAML of a config, in the order of the schema; with `changed_only`, without the defaults."""
    values = config.model_dump(mode="json", exclude_defaults=changed_only)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def absolute_paths(config: RunConfig) -> None:
    """Make relative paths that exist absolute, in place: a run may be resumed from another folder."""

    def absolute(value: Any) -> Any:
        if isinstance(value, str) and value and Path(value).expanduser().exists():
            return str(Path(value).expanduser().absolute())
        return value

    for section, name in (("model", "name"), ("model", "tokenizer"), ("model", "chat_template")):
        part = getattr(config, section)
        if getattr(part, name) not in ("demo", "train", "chatml"):
            setattr(part, name, absolute(getattr(part, name)))
    data = config.data
    data.validation = absolute(data.validation)
    data.cleaning.phrases = absolute(data.cleaning.phrases)
    if isinstance(data.path, list):
        for index, source in enumerate(data.path):
            if isinstance(source, str):
                data.path[index] = absolute(source)
            else:
                source.path = absolute(source.path)
    elif data.path not in ("demo", "demo-corpus"):
        data.path = absolute(data.path)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _index(node: yaml.Node, prefix: str, lines: dict[str, int], shown: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        if path in lines:
            raise ConfigError(f"{one_line(path)} stands twice.", where=f"{shown}:{key.start_mark.line + 1}")
        lines[path] = key.start_mark.line + 1
        _index(value, f"{path}.", lines, shown)


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    """One (path, sentence) for each field that is wrong."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path = _path_of(detail["loc"])
        if detail["type"] == "extra_forbidden":
            found[path] = f"unknown key {one_line(path)!r}.{_nearest_key(path)}"
        elif detail["type"] == "value_error" and not detail["loc"]:
            for problem in detail["msg"].removeprefix("Value error, ").splitlines():
                field, _, sentence = problem.partition(": ")
                found.setdefault(field, f"{field}: {sentence}.")
        elif path in options():
            option = options()[path]
            got = one_line(repr(detail["input"]), 80)
            if detail["type"] == "value_error":
                sentence = detail["msg"].removeprefix("Value error, ")
                found[path] = f"{path}: {one_line(sentence)}."
            else:
                found.setdefault(path, f"{path}: expected {option.expects()}, got {got}.")
        else:
            got = one_line(repr(detail["input"]), 80)
            found.setdefault(path, f"{one_line(path)}: {one_line(detail['msg'])}, got {got}.")
    return list(found.items())


def _path_of(location: tuple[int | str, ...]) -> str:
    """Dotted path of an error; the branches of a union, which pydantic appends, are cut off."""
    path = ""
    for part in location:
        longer = f"{path}.{part}" if path else str(part)
        if path in options():
            break
        path = longer
    return path


def _nearest_key(path: str) -> str:
    section, _, name = path.rpartition(".")
    inside = {known.rpartition(".")[2]: known for known in options() if known.rpartition(".")[0] == section}
    sections = {known.split(".")[0] for known in options() if not section}
    close = difflib.get_close_matches(name, [*inside, *sections], n=1, cutoff=0.6)
    if close:
        return f" Did you mean {inside.get(close[0], close[0])}?"
    elsewhere = [known for known in options() if known.rpartition(".")[2] == name]
    if elsewhere:
        return f" Did you mean {elsewhere[0]}?"
    return nearest(path, options()) or f" Known are {', '.join(dict.fromkeys([*inside, *sorted(sections)]))}."
