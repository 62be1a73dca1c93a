"""A GGUF file read back by transformers, which is the proof that needs no other program.

transformers reads the tensors of a file, and part of what it says. What it reads must equal the config of the
model that was exported; the rest it would take from defaults of the family, so it is given that.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.exporting.gguf.families import Family
from tui_tuner.exporting.gguf.sentence_pieces import set_space_prefix
from tui_tuner.locales import _
from tui_tuner.text import one_line

# transformers reads gemma 2 and 3, and has no entry for the first: its tensors are named and stored alike
_MISSING, _ALIKE = "gemma", "gemma2"
_CLOSE = 1e-6


def load_back(family: Family, config: Any, path: Path, dtype: Any) -> Any:
    """Load a file with transformers and return the model on the processor.

    Args:
        config: Of the model that was exported, the part that writes text.
        dtype: The numbers that it computes with.

    Raises:
        ModelError: the file says something else than the config.
    """
    from transformers import AutoModelForCausalLM

    with _teach_gemma():
        settings = _settle_config(family, config, path)
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, config=settings, dtype=dtype
        )
    return model.eval()


def load_tokenizer_back(path: Path, prefix: bool | None, trims: Sequence[str] = ()) -> Any:
    """Load the tokenizer that a file describes with transformers.

    Args:
        prefix: Whether the file sets a space before a text; None if its tokenizer has no such choice.
        trims: Special tokens after which llama.cpp drops spaces, which transformers does not know.
    """
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    with _teach_gemma():
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    if prefix is not None:
        # transformers takes that from the family, and llama.cpp from the file
        set_space_prefix(tokenizer.backend_tokenizer, prefix)
    if trims:
        tokenizer.backend_tokenizer.add_special_tokens(
            [AddedToken(token, rstrip=True, normalized=False, special=True) for token in trims]
        )
    return tokenizer


def list_file_ends(path: Path) -> list[int]:
    """List the tokens that a file says end generation."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    keys = [f"tokenizer.ggml.{role}_token_id" for role in ("eos", "eot", "eom")]
    return [int(fields[key].contents()) for key in keys if key in fields]


def _settle_config(family: Family, config: Any, path: Path) -> Any:
    """Return the config that the file is loaded with, after what transformers read of it was compared."""
    from transformers import AutoConfig

    read = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    for name in _list_read(family):
        if name == "rope_theta":
            found, expected = _find_theta(read), _find_theta(config)
        else:
            found, expected = getattr(read, name, None), getattr(config, name, None)
        if None not in (found, expected) and not _is_same(found, expected):
            raise ModelError(
                _(
                    "the file says {found} for {name}, and the model has {expected}.",
                    found=one_line(found, 60),
                    name=name,
                    expected=one_line(expected, 60),
                ),
                where=one_line(path),
            )
    values = config.to_dict()
    # of mistral, say, which is a llama in GGUF
    return AutoConfig.for_model(**{**values, "model_type": family.reader or config.model_type})


def _list_read(family: Family) -> list[str]:
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    told = GGUF_CONFIG_MAPPING.get(family.reader.removesuffix("_text") or _ALIKE, {})
    return [name for name in told.values() if isinstance(name, str)]


def _find_theta(config: Any) -> float | None:
    told = getattr(config, "rope_parameters", None) or {}
    theta = told.get("full_attention", told).get("rope_theta")
    return None if theta is None else float(theta)


def _is_same(found: Any, expected: Any) -> bool:
    if isinstance(found, float) or isinstance(expected, float):
        return math.isclose(float(found), float(expected), rel_tol=_CLOSE)
    return bool(found == expected)


@contextlib.contextmanager
def _teach_gemma() -> Iterator[None]:
    from transformers import modeling_gguf_pytorch_utils as reading
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    if _MISSING in GGUF_CONFIG_MAPPING:
        yield
        return
    GGUF_CONFIG_MAPPING[_MISSING] = GGUF_CONFIG_MAPPING[_ALIKE]
    reading.TENSOR_PROCESSORS[_MISSING] = reading.TENSOR_PROCESSORS[_ALIKE]
    reading.GGUF_SUPPORTED_ARCHITECTURES.append(_MISSING)
    try:
        yield
    finally:
        del GGUF_CONFIG_MAPPING[_MISSING], reading.TENSOR_PROCESSORS[_MISSING]
        reading.GGUF_SUPPORTED_ARCHITECTURES.remove(_MISSING)
