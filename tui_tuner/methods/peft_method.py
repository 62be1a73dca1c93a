"""What the methods of peft have in common: how an adapter is attached, saved, loaded and merged."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.methods.cache_names import join_cache_names
from tui_tuner.methods.layers import write_head_config
from tui_tuner.methods.method import Method, refuse_quantised
from tui_tuner.methods.stored import EMBEDDINGS, Stored, check_names, read_stored
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

DROPPING = "QUESTION_ANS"  # the task whose wrapper in peft drops what its model reads beside ids
# Beginnings of a low-rank adapter that leave the base model's weights as they are; others move a part of them
_BEGINNINGS = (True, False, None, "gaussian", "orthogonal")
_OTHER_SHAPE = re.compile(
    r"size mismatch for ([\w.]+):.*?torch\.Size\((\[[\d, ]*\])\).*?torch\.Size\((\[[\d, ]*\])\)", re.S
)
# How versions of peft write one name differs in these
_OLDER = re.compile(r"\.(default|weight|modules_to_save|original_module)(?=\.|$)")


class PeftMethod(Method):
    """A method whose adapter is made, saved and loaded by peft.

    Attributes:
        peft_type: peft's name for it, as in `adapter_config.json`.
    """

    library = "peft"
    peft_type = ""

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        """Return whether an adapter with this `adapter_config.json` is of this method."""
        return str(settings.get("peft_type") or "").upper() == self.peft_type

    def save_model(self, model: Module, folder: Path) -> None:
        with _without_wrapper(model):
            # peft asks a hub about the vocabulary otherwise; trained embeddings are saved as modules anyway
            model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        write_head_config(model.get_base_model(), str(model.active_peft_config.task_type), folder)

    def load_adapter(self, base: Module, folder: Path) -> Module:
        from peft import PeftModel

        stored = read_stored(folder)
        rows = stored.embedding_rows
        if rows and rows != base.get_input_embeddings().weight.shape[0]:
            base.resize_token_embeddings(rows, mean_resizing=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that are missing, which are looked for below
                model = PeftModel.from_pretrained(base, str(folder))
        except Exception as error:  # whatever peft and safetensors make of files that are damaged
            if is_out_of_memory(error):
                raise
            raise _refuse_adapter(error, folder) from error
        _check_places(model, stored, folder)
        join_cache_names(model)
        return model

    def leaves_base(self, stored: Stored) -> bool:
        begins = stored.settings.get("init_lora_weights")
        return (
            begins in _BEGINNINGS
            and not stored.settings.get("loftq_config")
            and not any(name.endswith(EMBEDDINGS) for name in stored.whole_tensors)
        )

    def merge_weights(self, model: Module) -> Module:
        """Return the model without adapter layers, whose weights compute the same.

        LoRA's products are added to the weights, IA3's factors multiplied into them, both rounded to their
        dtype.

        Raises:
            ModelError: weights in 4 or 8 bits would be rounded a second time.
        """
        refuse_quantised(model.get_base_model())
        return model.merge_and_unload(safe_merge=True)

    def unwrap_model(self, model: Module) -> Module:
        return model.get_base_model()

    def note_revision(self, model: Module, revision: str) -> None:
        model.active_peft_config.revision = revision or None


class OtherAdapter(PeftMethod):
    """An adapter of a kind that peft knows and no method here trains: it is loaded, used and merged."""

    def __init__(self) -> None:
        super().__init__("adapter")

    @property
    def kind(self) -> MethodKind:
        return MethodKind(
            self.name, N_("Adapter"), N_("An adapter of peft."), frozenset({Trait.ADAPTER, Trait.MERGEABLE})
        )

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        return True

    def leaves_base(self, stored: Stored) -> bool:
        # peft's other kinds may take something out of the base model's weights when they are put on it
        kind = str(stored.settings.get("peft_type") or "").upper()
        return kind in ("LOKR", "ADALORA") and super().leaves_base(stored)


def wrap_model(model: Module, settings: Any) -> Module:
    """Put an adapter onto a model, as settings of peft describe it.

    Raises:
        ConfigError: peft has no such adapter for a layer of this model.
    """
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(one_line(error, 300), where="method.kind", hint=_("Use lora.")) from error


@contextlib.contextmanager
def _without_wrapper(model: Module) -> Iterator[None]:
    """Within it, an adapter for answers is saved without its task.

    peft's wrapper for that task drops token types and positions, and whoever loads the adapter would compute
    other answers than were trained. Without a task peft passes everything on, as transformers' own loader of
    adapters does; what of the head is saved is named in the adapter's config all the same.
    """
    settings = model.active_peft_config
    if str(settings.task_type) != DROPPING or settings.is_prompt_learning:
        yield
        return
    task, settings.task_type = settings.task_type, None
    try:
        yield
    finally:
        settings.task_type = task


def _check_places(model: Module, stored: Stored, folder: Path) -> None:
    """Raise `ModelError` where weights of the adapter have no place in the model, or it lacks some."""
    from peft import get_peft_model_state_dict

    # embeddings that the base model has are no part of it, and peft asks a hub about them otherwise
    wanted = {_strip_version(name) for name in get_peft_model_state_dict(model, save_embedding_layers=False)}
    given = {_strip_version(name): name for name in stored.shapes}
    over = [name for plain, name in given.items() if plain not in wanted and not name.endswith(EMBEDDINGS)]
    check_names(over, wanted - given.keys(), folder)


def _strip_version(name: str) -> str:
    return _OLDER.sub("", name)


def _refuse_adapter(error: Exception, folder: Path) -> ModelError:
    found = _OTHER_SHAPE.search(str(error))
    if found is None:
        return ModelError(
            _("the adapter cannot be loaded: {error}", error=one_line(error, 300)),
            where=one_line(folder),
            hint=_("Is the base model still the one it was trained on?"),
        )
    return ModelError(
        _(
            "the adapter fits another model: {name} has the shape {stored}, and here it would be {wanted}.",
            name=one_line(found[1].removeprefix("base_model.model."), 120),
            stored=found[2],
            wanted=found[3],
        ),
        where=one_line(folder),
        hint=_("Is the base model still the one it was trained on?"),
    )
