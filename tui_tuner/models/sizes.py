"""Check the small files of a model before libraries read them: plausible sizes, bounded lengths.

Everything that opens a model calls this first, because libraries start to build whatever a config.json
describes, even a billion layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.architectures.family import Family
from tui_tuner.text import one_line

LIMITS = {
    "hidden_size": 1_000_000,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 100_000,
    "num_key_value_heads": 100_000,
    "head_dim": 100_000,
    "intermediate_size": 10_000_000,
    "vocab_size": 100_000_000,
    "num_experts": 100_000,
    "experts_per_token": 100_000,
    "expert_size": 10_000_000,
}
MOST_PARAMETERS = 10**14  # tens of times the largest model there is
# Names in other architectures: a pattern, the limit that applies, and whether only a whole number is valid.
# The first pattern that matches decides, so the exact names come before the open patterns.
_NAMES = (
    (r"hidden_size|d_model|n_embd|dim|embedding_size|word_embed_proj_dim", "hidden_size", True),
    (r"num_hidden_layers|n_layers?|num_(?:encoder_|decoder_)?layers", "num_hidden_layers", True),
    (r"num_attention_heads|n_heads?|num_heads|num_key_value_heads|n_head_kv", "num_attention_heads", True),
    (r"intermediate_size|n_inner|ffn_dim|d_ff|hidden_dim|ffn_hidden_size", "intermediate_size", True),
    (r"vocab_size|type_vocab_size", "vocab_size", True),
    (r"\w*_layers", "num_hidden_layers", False),
    (r"\w*_heads", "num_attention_heads", False),
    (r"\w*head_dim", "head_dim", False),
    (r"\w*_intermediate_size|\w*ffn_dim", "intermediate_size", False),
    (r"num_\w*experts|\w*_experts", "num_experts", False),
    (r"max_position_embeddings|n_positions", "vocab_size", False),
)
_PATTERNS = tuple((re.compile(names), LIMITS[limit], strict) for names, limit, strict in _NAMES)
_MiB = 1 << 20
# Files that libraries read into memory whole, and the largest size accepted
SMALL_FILES = {
    "config.json": 16 * _MiB,
    "generation_config.json": 16 * _MiB,
    "adapter_config.json": 16 * _MiB,
    "tokenizer_config.json": 64 * _MiB,
    "special_tokens_map.json": 16 * _MiB,
    "added_tokens.json": 64 * _MiB,
    "chat_template.json": 16 * _MiB,
    "chat_template.jinja": 16 * _MiB,
    "tokenizer.json": 512 * _MiB,
    "vocab.json": 512 * _MiB,
    "vocab.txt": 512 * _MiB,
    "merges.txt": 512 * _MiB,
    "tokenizer.model": 512 * _MiB,
    "spiece.model": 512 * _MiB,
    "model.safetensors.index.json": 64 * _MiB,
}
_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
_AGAIN = N_("Download or copy it again.")


def check_sizes(config: Mapping[str, Any], where: str) -> None:
    """Raise if a transformers config has a size that no model has; missing fields are accepted here.

    Raises:
        ModelError: one is too large, negative, or not a number; the message names it.
    """
    for name, value in _walk_fields(config, "", 0):
        for pattern, most, strict in _PATTERNS:
            if pattern.fullmatch(name.rpartition(".")[2]):
                _check_size(name, value, most, strict, where)
                break


class ConfigNumbers:
    """Reads numbers of a config, with aliases, defaults and limits applied."""

    def __init__(self, config: Mapping[str, Any], family: Family, where: str) -> None:
        self.config, self.family, self.where = config, family, where

    def read_number(self, field: str, default: int | None = None, least: int = 1) -> int:
        names = self.family.aliases.get(field, (field,))
        alias = next((name for name in names if self.config.get(name) is not None), names[-1])
        value = self.config.get(alias)
        if value is None:
            value = self.family.defaults.get(field, default)
        if value is None:
            raise ModelError(
                _("has no `{alias}`.", alias=alias),
                where=self.where,
                hint=_("The memory of a run depends on it."),
            )
        # JSON's true and false are integers in Python.
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(
                _("`{alias}` is {value!r}, not a whole number.", alias=alias, value=format_size_value(value)),
                where=self.where,
            )
        most = LIMITS.get(field, 10**9)
        if not least <= value <= most:
            hint = _("It must be between {least} and {most}.", least=least, most=most)
            problem = _(
                "`{alias}` is {value}, which is not a plausible size.",
                alias=alias,
                value=format_size_value(value),
            )
            raise ModelError(problem, where=self.where, hint=hint)
        return value

    def read_flag(self, field: str, default: bool) -> bool:
        value = self.config.get(field)
        return bool(self.family.defaults.get(field, default)) if value is None else bool(value)


def _walk_fields(config: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a config and of its nested configs (`text_config`) by their dotted names."""
    for name, value in config.items():
        # The depth is limited, as a file may nest configs without end.
        if isinstance(value, Mapping) and str(name).endswith("config") and depth < 3:
            yield from _walk_fields(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def _check_size(name: str, value: Any, most: int, strict: bool, where: str) -> None:
    values = value if isinstance(value, list) else [value]
    for one in values:
        if one is None or (not strict and (isinstance(one, bool) or not isinstance(one, int | float))):
            continue
        if (
            isinstance(one, bool)
            or not isinstance(one, int | float)
            or (strict and one != convert_to_whole_number(one))
        ):
            problem = _(
                "`{name}` is {value!r}, not a whole number.",
                name=one_line(name),
                value=format_size_value(one),
            )
            raise ModelError(problem, where=where, hint=_("Use the config.json that belongs to the weights."))
        # Some open names use -1 for "not set".
        least = 0 if strict else -1
        if not least <= one <= most:
            raise ModelError(
                _(
                    "`{name}` is {value}, which is not a plausible size.",
                    name=one_line(name),
                    value=format_size_value(one),
                ),
                where=where,
                hint=_("It must be between {least} and {most}.", least=1, most=most),
            )
    if len(values) > LIMITS["num_hidden_layers"]:
        problem = _("`{name}` is a list of {count:,} values.", name=one_line(name), count=len(values))
        raise ModelError(problem, where=where)


def convert_to_whole_number(value: float) -> int | None:
    """Return a number as a whole number; None for NaN and infinity."""
    return int(value) if value == value and abs(value) != float("inf") else None


def format_size_value(value: object) -> str:
    """Return a value of a config as text for an error message."""
    try:
        return one_line(value, 60)
    # Python refuses to write integers of more than 4,300 digits.
    except ValueError:
        return _("a number of thousands of digits")
    except RecursionError:
        return _("an endlessly nested list")


def check_small_files(folder: Path) -> None:
    """Raise unless the small files of a model or tokenizer are regular, short enough and valid JSON.

    Raises:
        ModelError: one is not; the message names it.
    """
    import orjson

    for name, most in SMALL_FILES.items():
        path = folder / name
        shown = one_line(path)
        try:
            if not path.exists():
                continue
            # Reading a device or a pipe may never end.
            if not path.is_file():
                raise ModelError(_("is not a regular file."), where=shown)
            status = path.stat()
            if status.st_size > most:
                what = _("is larger than {most} MiB, so it is not a model file.", most=most // _MiB)
                raise ModelError(what, where=shown, hint=_(_AGAIN))
            if name in _JSON and not _is_object(path, status.st_mtime_ns, status.st_size):
                raise ModelError(_("does not hold a JSON object."), where=shown, hint=_(_AGAIN))
        except OSError as error:
            raise ModelError(_("cannot be read: {problem}.", problem=error.strerror), where=shown) from None
        except orjson.JSONDecodeError as error:
            raise ModelError(
                _("is damaged: {error}.", error=one_line(error.msg)),
                where=f"{shown}:{error.lineno}",
                hint=_(_AGAIN),
            ) from None


# A run asks ten times, and a tokenizer.json may have 30 MB; the arguments notice a file that was
# rewritten.
@lru_cache(maxsize=16)
def _is_object(path: Path, changed: int, size: int) -> bool:
    """Return whether a JSON file holds an object."""
    import orjson

    return isinstance(orjson.loads(path.read_bytes()), dict)
