"""An adapter that is merged with the whole model in memory, where it cannot be done module by module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.tensors import TensorForm, name_safetensors_type
from tui_tuner.models.loading import find_tokenizer_source, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from tui_tuner.exporting.source import Source


class MemoryTensors:
    """The merged weights of a source; see `tensors.TensorReader`. The whole model is in memory.

    It is loaded on the processor, in the type that its files have.

    Raises:
        ModelError: it cannot be merged.
    """

    def __init__(self, source: Source) -> None:
        from transformers.core_model_loading import revert_weight_conversion

        from tui_tuner.config.values import edit_values
        from tui_tuner.inference.model_places import load_headed_model
        from tui_tuner.methods import merge
        from tui_tuner.methods.saved.putting import put_adapter

        assert source.adapter is not None
        changes = {"model.dtype": read_stored_type(source), "model.quantization": "none"}
        config = edit_values(source.config, changes)
        tokenizer = load_tokenizer(config.model.model_copy(update={"tokenizer": find_own_tokenizer(source)}))
        base = load_headed_model(config, "cpu", tokenizer, source.task, source.learned, source.head)
        tied = base.config.tie_word_embeddings
        source.task.finish_model(base, source.learned)
        model: Any = merge(put_adapter(base, source.adapter))
        # Encoders have none: they never write
        self.settings, self.generation = model.config, getattr(model, "generation_config", None)
        self.class_name = type(model).__name__
        self.untied = bool(tied) and not model.config.tie_word_embeddings
        state = revert_weight_conversion(model, dict(model.state_dict()))
        shared = set(getattr(model, "all_tied_weights_keys", None) or ()) if not self.untied else set()
        self._tensors: dict[str, Tensor] = {name: one for name, one in state.items() if name not in shared}
        self.forms = {
            name: TensorForm(name_safetensors_type(one.dtype), tuple(one.shape))
            for name, one in self._tensors.items()
        }

    def read_tensor(self, name: str) -> Tensor:
        return self._tensors[name]


def find_own_tokenizer(source: Source) -> str:
    """Return where a source's tokenizer is loaded from, as `model.tokenizer`."""
    return source.tokenizer_source or find_tokenizer_source(source.config.model)


def read_stored_type(source: Source) -> str:
    """Return the type that most numbers of a source's weights have, as `model.dtype`."""
    from tui_tuner.exporting.merging.weight_files import WeightFiles

    counts: dict[str, int] = {}
    for form in WeightFiles(source.weights).forms.values():
        counts[form.dtype] = counts.get(form.dtype, 0) + form.numbers
    known = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    return known.get(max(counts, key=lambda kind: counts[kind], default="F32"), "bfloat16")
