"""The model that an export holds: its tensors, its config, and the small files beside them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.errors import ModelError
from tui_tuner.exporting.merging.base_weights import open_weights
from tui_tuner.exporting.source import Source
from tui_tuner.exporting.tensors import TensorReader
from tui_tuner.inference.heads import read_model_json
from tui_tuner.locales import _
from tui_tuner.methods.stored import CONFIG
from tui_tuner.models.growing.growth import RECORD as GROWTH_RECORD
from tui_tuner.text import one_line
from tui_tuner.training.base_model import RECORD

# Written by `Result`, or of an adapter, or of the run: not copied with the tokenizer
_LEFT = {
    "config.json",
    "generation_config.json",
    CONFIG,
    RECORD,
    "README.md",
    "evaluation.json",
    "combined.json",
}
_OWN_CODE = "auto_map"


@dataclass(frozen=True)
class Result:
    """A whole model, merged where there is an adapter, that is read tensor by tensor.

    Args:
        source: What it is made from.
        tensors: Its weights under the names of the base model's files.
        config: Its config.json.
        generation: Its generation_config.json; empty if it has none.
        streamed: Whether no more than a few tensors are in memory at a time.
    """

    source: Source
    tensors: TensorReader
    config: dict[str, Any]
    generation: dict[str, Any]
    streamed: bool = True

    def write_small_files(self, folder: Path) -> None:
        """Write everything of the model but its weights: configs, tokenizer, chat template, its own code."""
        _write_json(folder / "config.json", self.config)
        if self.generation:
            _write_json(folder / "generation_config.json", self.generation)
        write_tokenizer(self.source, folder)
        # Its rows are in the weights: a model that is given them again would forget what they learned
        (folder / GROWTH_RECORD).unlink(missing_ok=True)
        if self.config.get(_OWN_CODE):
            for path in self.source.weights.glob("*.py"):
                shutil.copyfile(path, folder / path.name)


def open_result(source: Source) -> Result:
    """Open the whole model of a source: the weights of its files, merged with its adapter.

    Raises:
        ModelError: its adapter cannot be merged, with what can be exported instead.
    """
    if source.adapter is None:
        return _open_whole(source)
    check_mergeable(source)
    from tui_tuner.exporting.merging.in_memory import MemoryTensors
    from tui_tuner.exporting.merging.merged_tensors import MergedTensors, NotStreamable

    try:
        merged = MergedTensors(source)
    except NotStreamable:
        whole = MemoryTensors(source)
        return Result(source, whole, *_settle_configs(source, whole, whole.untied), streamed=False)
    return Result(source, merged, *_settle_configs(source, merged, merged.untied))


def check_mergeable(source: Source) -> None:
    """Raise `ModelError` for an adapter that no weights could take in."""
    method = source.method
    if method is None or method.has(Trait.MERGEABLE):
        return
    raise ModelError(
        _("{method} cannot be merged into the model's weights.", method=_(method.kind.label)),
        where=one_line(source.name),
        hint=_("Export the adapter as it is: --to adapter."),
    )


def _open_whole(source: Source) -> Result:
    config = source.read_base_config()
    return Result(source, open_weights(source), _without_bits(config), _read_generation(source))


def _without_bits(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "quantization_config"}


def _read_generation(source: Source) -> dict[str, Any]:
    return read_model_json(source.weights / "generation_config.json")


def _settle_configs(source: Source, merged: Any, untied: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and generation config of a merged model."""
    config = _without_bits(source.read_base_config())
    made = json.loads(merged.settings.to_json_string(use_diff=False))
    kind = merged.class_name
    if kind not in (config.get("architectures") or []):
        # A head of its own: its labels are in the config, which the base's file does not have
        config = {**made, "architectures": [kind]}
        config.pop("quantization_config", None)
    else:
        inner = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
        assert isinstance(inner, dict)
        inner["vocab_size"] = merged.settings.get_text_config().vocab_size
        for name in source.task.kept:
            if name in made:
                config[name] = made[name]
    if untied:
        config["tie_word_embeddings"] = False
        if isinstance(config.get("text_config"), dict):
            config["text_config"]["tie_word_embeddings"] = False
    generation = _read_generation(source)
    ends = getattr(merged.generation, "eos_token_id", None)
    if ends is not None and source.writes:
        # The tokens that end trained answers, beside the model's own
        generation = {**generation, "eos_token_id": ends}
    return config, generation


def write_tokenizer(source: Source, folder: Path) -> None:
    """Write the tokenizer with its chat template as it was saved with the source."""
    place = Path(source.tokenizer_source)
    names = [
        path
        for path in sorted(place.iterdir() if place.is_dir() else ())
        if path.is_file()
        and path.name not in _LEFT
        and path.suffix in (".json", ".txt", ".model", ".jinja", ".tiktoken")
        and ".safetensors" not in path.name
    ]
    if any(path.name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt") for path in names):
        for path in names:
            shutil.copyfile(path, folder / path.name)
        return
    from tui_tuner.models.loading import load_tokenizer

    load_tokenizer(source.config.model).save_pretrained(str(folder))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
