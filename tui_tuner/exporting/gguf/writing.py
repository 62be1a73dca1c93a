"""Write one GGUF file, one tensor at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.exporting.gguf.families import Family, find_family, list_remarks
from tui_tuner.exporting.gguf.rope import Rope, describe_rope
from tui_tuner.exporting.gguf.tensor_plan import PlannedTensor, plan_tensors
from tui_tuner.exporting.gguf.tensor_types import (
    choose_tensor_type,
    count_tensor_bytes,
    find_file_type,
    pack_tensor,
)
from tui_tuner.exporting.gguf.values import list_model_values
from tui_tuner.exporting.gguf.vocabulary import Vocabulary, read_vocabulary
from tui_tuner.exporting.tensors import TensorReader

_HEADER, _ENTRY = 4096, 128  # bytes of what is said about the model, and about a tensor, at most
_PHI3_NAME = re.compile(r"(phi)-?3", re.I)

Progress = Callable[[int, int], None]


@dataclass
class Draft:
    """All that a file will say, settled before anything is written.

    Args:
        name: The name of the model.
        config: Of the part that writes text, as transformers has it.
        tokenizer: The loaded tokenizer that the vocabulary was read from.
        remarks: What programs made of llama.cpp do differently with some texts.
    """

    name: str
    family: Family
    config: Any
    rope: Rope
    vocabulary: Vocabulary
    tensors: list[PlannedTensor]
    tokenizer: Any
    remarks: list[str]

    def count_bytes(self, word: str) -> int:
        """Return how many bytes the file will have with a number format, nearly."""
        total = _HEADER + len(self.vocabulary.template.encode())
        total += sum(len(token.encode()) + 20 for token in self.vocabulary.tokens)
        total += sum(len(merge.encode()) + 8 for merge in self.vocabulary.merges)
        for tensor in self.tensors:
            kind = choose_tensor_type(tensor.name, tensor.shape, word)
            total += count_tensor_bytes(tensor.shape, kind) + _ENTRY
        return total


def draft_file(
    name: str, config: Any, tokenizer: Any, shapes: Mapping[str, tuple[int, ...]], ends: Sequence[int]
) -> Draft:
    """Settle what a file will hold, without reading weights.

    Args:
        name: The name of the model, for errors and for the file.
        config: transformers' config of the model.
        shapes: Name of a weight -> its shape.
        ends: The tokens that end generation.

    Raises:
        ModelError: GGUF does not carry the model, or llama.cpp would compute or tokenize differently.
    """
    text = config.get_text_config()
    family = find_family(text, name)
    rope = describe_rope(text, name)
    tensors = plan_tensors(family, text, shapes, name)
    vocabulary = read_vocabulary(tokenizer, text.vocab_size, ends, name)
    remarks = [*list_remarks(family, text), *vocabulary.remarks]
    return Draft(_settle_name(name, vocabulary), family, text, rope, vocabulary, tensors, tokenizer, remarks)


def _settle_name(name: str, vocabulary: Vocabulary) -> str:
    """Return the name for the file; by some names llama.cpp takes a model for Phi-3, and fails to load it."""
    if vocabulary.trims:
        # and by such a name it drops spaces after the special tokens of Phi-3
        return name if _PHI3_NAME.search(name) else f"{name} (Phi-3)"
    # transformers takes a llama of exactly this name for another architecture
    return _PHI3_NAME.sub(r"\1 3", name) if name != "mistral" else "Mistral"


def write_file(
    draft: Draft,
    weights: TensorReader,
    word: str,
    path: Path,
    say: Progress = lambda *_unused: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write a GGUF file.

    Args:
        word: The number format, one that the package `gguf` packs.
        say: Told the bytes that are written, and all there will be.
        check: Called before each tensor; it raises to stop.

    Raises:
        ModelError: a weight does not fit the number format.
        OSError: it cannot be written.
    """
    with _open_writer(draft, word, path) as writer:
        kinds = {}
        for tensor in draft.tensors:
            kinds[tensor.name] = kind = choose_tensor_type(tensor.name, tensor.shape, word)
            _announce_tensor(writer, tensor.name, tensor.shape, kind)
        for name, factors in draft.rope.factors.items():
            kinds[name] = kind = choose_tensor_type(name, tuple(factors.shape), word)
            _announce_tensor(writer, name, tuple(factors.shape), kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total = sum(count_tensor_bytes(tensor.shape, kinds[tensor.name]) for tensor in draft.tensors)
        done = 0
        for tensor in draft.tensors:
            check()
            made = tensor.make([weights.read_tensor(source) for source in tensor.sources])
            packed = pack_tensor(made, kinds[tensor.name], tensor.name)
            writer.write_tensor_data(packed)
            done += packed.size
            say(done, total)
        for name, factors in draft.rope.factors.items():
            writer.write_tensor_data(pack_tensor(factors, kinds[name], name))


@contextlib.contextmanager
def _open_writer(draft: Draft, word: str, path: Path) -> Iterator[Any]:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, draft.family.architecture)
    try:
        _add_general(writer, draft, word)
        for key, value in list_model_values(draft.family, draft.config, draft.rope).items():
            _add_value(writer, f"{draft.family.architecture}.{key}", value)
        _add_vocabulary(writer, draft.vocabulary)
        yield writer
    finally:
        writer.close()


def _announce_tensor(writer: Any, name: str, shape: tuple[int, ...], kind: Any) -> None:
    import numpy as np

    # the type of the array says only that this is the shape in numbers, not in packed bytes
    writer.add_tensor_info(name, shape, np.dtype(np.float32), count_tensor_bytes(shape, kind), raw_dtype=kind)


def _add_general(writer: Any, draft: Draft, word: str) -> None:
    from gguf import GGML_QUANT_VERSION

    writer.add_type("model")
    writer.add_name(draft.name)
    writer.add_file_type(find_file_type(word))
    if word not in ("f32", "f16", "bf16"):
        writer.add_quantization_version(GGML_QUANT_VERSION)


def _add_value(writer: Any, key: str, value: Any) -> None:
    # True is an int to Python
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, str(value))


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.splitting)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for role, number in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", number)
    for flag, value in vocabulary.flags.items():
        writer.add_bool(f"tokenizer.ggml.{flag}", value)
    if vocabulary.template:
        writer.add_chat_template(vocabulary.template)
