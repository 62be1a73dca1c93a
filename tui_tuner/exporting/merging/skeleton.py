"""A model whose tensors have shapes and no memory, so that an adapter can be put onto it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.tensors import TensorReader, find_torch_type
from tui_tuner.methods.stored import EMBEDDINGS
from tui_tuner.models.load_failures import ARCHITECTURE, explain_failures
from tui_tuner.models.new_weights import map_backbone_names

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.exporting.source import Source


def build_skeleton(source: Source, files: TensorReader) -> Module:
    """Build the base model of a source without weights, with the head that its adapter was made for.

    Parameters have the types that the files have, and one number of memory each; those that the adapter
    brings whole, such as embeddings of new tokens, have theirs, for they are loaded into.
    """
    import torch
    import transformers

    task, config = source.task, source.config
    with explain_failures(str(source.weights), *ARCHITECTURE):
        settings = transformers.AutoConfig.from_pretrained(
            str(source.weights), trust_remote_code=config.model.trust_remote_code
        )
        for name, value in {**task.model_values(config, source.learned), **source.head}.items():
            setattr(settings, name, value)
        # What is built here holds ordinary numbers, whatever the files hold
        vars(settings).pop("quantization_config", None)
        rows = source.stored.embedding_rows if source.stored is not None else 0
        text = settings.get_text_config()
        if rows > (getattr(text, "vocab_size", None) or rows):
            text.vocab_size = rows
        with torch.device("meta"):
            model = getattr(transformers, task.auto_class).from_config(
                settings, trust_remote_code=config.model.trust_remote_code
            )
    model.tie_weights()
    names = map_file_names(model, files, task.auto_class)
    _make_ghosts(model, {own: files.forms[name].dtype for name, own in names.items()}, _find_whole(source))
    _read_generation(model, source.weights)
    task.finish_model(model, source.learned)
    return model  # type: ignore[no-any-return]


def map_file_names(model: Module, files: TensorReader, auto_class: str) -> dict[str, str]:
    """Return, by the names of tensors in files, what a model calls them.

    Tensors that transformers puts together from several, such as the experts of a mixture, are left out.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = map_backbone_names(auto_class, model.config) or None
    transforms = get_model_conversion_mapping(model, mapping)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    known = model.state_dict(keep_vars=True)
    found: dict[str, str] = {}
    for name in files.forms:
        own, converted = rename_source_key(name, renamings, converters, model.base_model_prefix, known)
        if converted is None and own in known:
            found[name] = own
    return found


def _find_whole(source: Source) -> set[str]:
    """Return how the names of tensors end that the adapter brings whole, to be loaded into the base's."""
    whole = dict(source.stored.whole_tensors) if source.stored is not None else {}
    base = (source.read_base_config().get("text_config") or source.read_base_config()).get("vocab_size")
    if source.stored is not None and source.stored.embedding_rows > (base or 0):
        # Embeddings of new tokens are saved twice where they are trained, as the base's and as the adapter's
        whole |= {name: shape for name, shape in source.stored.shapes.items() if name.endswith(EMBEDDINGS)}
    return {end for name in whole for end in EMBEDDINGS if name.endswith(end)} | {
        name.rpartition(".base_layer.")[0].rpartition(".")[2] + ".weight"
        for name in whole
        if ".base_layer." in name
    }


def _make_ghosts(model: Module, dtypes: dict[str, str], whole: set[str]) -> None:
    import torch

    kinds: list[Any] = [find_torch_type(kind) for kind in dtypes.values()]
    # Of a tensor that no file holds, such as a new head: the type that most have
    usual = max(set(kinds), key=kinds.count) if kinds else torch.float32
    names: dict[int, list[str]] = {}
    for full, one in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(one), []).append(f".{full}")
    known: dict[int, Tensor] = {}  # a parameter that two modules share stays shared
    for prefix, module in model.named_modules():
        for name, old in list(module._parameters.items()):
            if old is None:
                continue
            full = f"{prefix}.{name}" if prefix else name
            if id(old) not in known:
                kind: Any = find_torch_type(dtypes[full]) if full in dtypes else usual
                real = any(own.endswith(f".{end}") for own in names[id(old)] for end in whole)
                data = torch.zeros(old.shape, dtype=kind) if real else make_ghost(old.shape, kind)
                known[id(old)] = torch.nn.Parameter(data, requires_grad=False)
            module._parameters[name] = known[id(old)]  # type: ignore[assignment]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = make_ghost(buffer.shape, buffer.dtype)


def make_ghost(shape: Any, dtype: Any) -> Tensor:
    """Return zeros of any shape that take the memory of one number."""
    import torch

    # An ordinary tensor of the processor, unlike one on `meta`, on which peft would make its adapter too
    return torch.zeros((), dtype=dtype).expand(shape)


def _read_generation(model: Any, folder: Path) -> None:
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(folder))


@contextmanager
def calm_peft() -> Iterator[None]:
    """Silence what peft says about weights that are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
