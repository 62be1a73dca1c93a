"""A saved adapter is put onto a base model, and proven to belong to it: peft skips what fits nowhere."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.errors import ModelError
from tui_tuner.locales import _, _n
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST = 100 << 20  # bytes of a header, as the format allows
# Kinds that leave every tensor of the base model as it is; any other may take something out of it
_BESIDE = ("LORA", "LOHA", "LOKR", "VERA", "IA3", "ADALORA", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
# Beginnings of a low-rank adapter that do so too: others put a part of the base model's weights into it
_BEGINNINGS = (True, False, None, "gaussian", "orthogonal")
_OTHER_SHAPE = re.compile(
    r"size mismatch for ([\w.]+):.*?torch\.Size\((\[[\d, ]*\])\).*?torch\.Size\((\[[\d, ]*\])\)", re.S
)
# How versions of peft write one name differs in these
_OLDER = re.compile(r"\.(default|weight|modules_to_save|original_module)(?=\.|$)")


class Stored(NamedTuple):
    """What an adapter's folder holds.

    Args:
        settings: Its adapter_config.json.
        shapes: Of the tensors in its file, by name.
    """

    settings: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def leaves_base(self) -> bool:
        """Whether it changes no tensor of a base model that it is put onto, so that others may share it."""
        kind = str(self.settings.get("peft_type") or "").upper()
        begins = self.settings.get("init_lora_weights")
        return kind in _BESIDE and begins in _BEGINNINGS and not self.settings.get("loftq_config") \
            and not any(name.endswith(_EMBEDDINGS) for name in self.whole)  # fmt: skip

    @property
    def whole(self) -> dict[str, tuple[int, ...]]:
        """Tensors that take the place of the base model's own, such as embeddings of added tokens."""
        apart = {*(self.settings.get("modules_to_save") or ()), "modules_to_save"}
        return {
            name: shape
            for name, shape in self.shapes.items()
            if not any(part in name for part in _PARTS) and not apart & set(name.split("."))
        }

    @property
    def rows(self) -> int:
        """How many tokens its embeddings are for; 0 where it brings none."""
        found = [
            shape[0]
            for name, shape in self.shapes.items()
            if name.endswith(_EMBEDDINGS) and len(shape) == 2 and not any(part in name for part in _PARTS)
        ]
        return max(found, default=0)


_EMBEDDINGS = (
    *("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "embed_in.weight"),
    *("lm_head.weight", "embed_out.weight"),
)
_PARTS = ("lora_", "hada_", "lokr_", "vera_", "ia3_", "prompt_", "token_adapter", "magnitude")


def read_stored(place: Path) -> Stored:
    """What a folder holds of an adapter.

    Raises:
        ModelError: it has no weights in safetensors, or they are damaged.
    """
    try:
        settings = json.loads((place / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        settings = {}
    if not (place / WEIGHTS).is_file():
        raise ModelError(
            _("has no {adapter_weights}; weights load from safetensors alone.", adapter_weights=WEIGHTS),
            where=one_line(place),
            hint=_("Copy the adapter's folder once more, or save it as safetensors."),
        )
    try:
        shapes = _shapes(place / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(
            _("the adapter cannot be loaded: {error}", error=_("its weights are damaged or cut short.")),
            where=one_line(place / WEIGHTS),
            hint=_("Copy it once more, or take another checkpoint."),
        ) from None
    return Stored(settings if isinstance(settings, dict) else {}, shapes)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LARGEST:
            raise ValueError("no safetensors file")
        header = json.loads(file.read(length))
    told = {str(name): one for name, one in header.items() if name != "__metadata__"}
    end = max((int(one["data_offsets"][1]) for one in told.values()), default=0)
    if path.stat().st_size != 8 + length + end:
        raise ValueError("cut short")
    return {name: tuple(int(size) for size in one["shape"]) for name, one in told.items()}


def put_adapter(base: Any, place: Path) -> Any:
    """A base model with the adapter of a folder.

    A base model with fewer embeddings than the adapter brings gets as many first.

    Raises:
        ModelError: the adapter is damaged, or made for another model.
    """
    from peft import PeftModel

    stored = read_stored(place)
    rows = stored.rows
    if rows and rows != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(rows, mean_resizing=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are missing, which are looked for below
            model = PeftModel.from_pretrained(base, str(place))
    except Exception as error:  # whatever peft and safetensors make of files that are damaged
        if is_out_of_memory(error):
            raise
        raise _refused(error, place) from error
    _check_names(model, stored, place)
    return model


def _check_names(model: Any, stored: Stored, place: Path) -> None:
    """Raise `ModelError` where weights of the adapter have no place in the model, or it lacks some."""
    from peft import get_peft_model_state_dict

    # embeddings that the base model has are no part of it, and peft asks a hub about them otherwise
    wanted = {_plain(name) for name in get_peft_model_state_dict(model, save_embedding_layers=False)}
    given = {_plain(name): name for name in stored.shapes}
    over = [name for plain, name in given.items() if plain not in wanted and not name.endswith(_EMBEDDINGS)]
    lacking = wanted - given.keys()
    if not over and not lacking:
        return
    if over:
        what = _n(
            "{count} weight of the adapter fits nowhere in the base model, such as {name}.",
            "{count} weights of the adapter fit nowhere in the base model, such as {name}.",
            len(over),
            count=len(over),
            name=one_line(min(over), 120),
        )
    else:
        what = _n(
            "the adapter lacks {count} weight that the base model has a place for, such as {name}.",
            "the adapter lacks {count} weights that the base model has a place for, such as {name}.",
            len(lacking),
            count=len(lacking),
            name=one_line(min(lacking), 120),
        )
    raise ModelError(what, where=one_line(place), hint=_("Is the base model the one it was trained on?"))


def _plain(name: str) -> str:
    return _OLDER.sub("", name)


def _refused(error: Exception, place: Path) -> ModelError:
    found = _OTHER_SHAPE.search(str(error))
    if found is None:
        return ModelError(
            _("the adapter cannot be loaded: {error}", error=one_line(error, 300)),
            where=one_line(place),
            hint=_("Is the base model still the one it was trained on?"),
        )
    return ModelError(
        _(
            "the adapter fits another model: {name} has the shape {stored}, and here it would be {wanted}.",
            name=one_line(found[1].removeprefix("base_model.model."), 120),
            stored=found[2],
            wanted=found[3],
        ),
        where=one_line(place),
        hint=_("Is the base model still the one it was trained on?"),
    )
