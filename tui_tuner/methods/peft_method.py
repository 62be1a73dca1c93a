"""The base class of the methods of peft: how an adapter is attached, saved, loaded and merged."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.locales import N_, _
from tui_tuner.methods.cache_names import join_cache_names
from tui_tuner.methods.layers import write_head_config
from tui_tuner.methods.method import Method, refuse_quantised_merging
from tui_tuner.methods.stored import (
    BELOW,
    EMBEDDINGS,
    WEIGHTS,
    Stored,
    check_adapter_names,
    list_below,
    read_stored,
)
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

# The task whose wrapper in peft drops all of a model's inputs but the ids
DROPPING = "QUESTION_ANS"
# Initialisations of a low-rank adapter that leave the base model's weights as they are; others, such as
# PiSSA, move a part of them into the adapter
_BEGINNINGS = (True, False, None, "gaussian", "orthogonal")
_OTHER_SHAPE = re.compile(
    r"size mismatch for ([\w.]+):.*?torch\.Size\((\[[\d, ]*\])\).*?torch\.Size\((\[[\d, ]*\])\)", re.S
)
# Parts of a weight's name that some versions of peft write and others leave out
_OLDER = re.compile(r"\.(default|weight|modules_to_save|original_module)(?=\.|$)")


class PeftMethod(Method):
    """A method whose adapter is made, saved and loaded by peft.

    Attributes:
        peft_type: peft's name for it, as in `adapter_config.json`.
        names: What peft calls fields of the section `method`, by these.
        stacks: peft adds up several adapters of this type that are active at once.
    """

    library = "peft"
    peft_type = ""
    names: ClassVar[Mapping[str, str]] = {}
    stacks: ClassVar[bool] = False

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        """Return whether this method makes adapters with such an `adapter_config.json`."""
        return str(settings.get("peft_type") or "").upper() == self.peft_type

    def save_model(self, model: Module, folder: Path) -> None:
        with _without_wrapper(model), self.settle_export(model) as tensors:
            # Otherwise peft asks a hub about the vocabulary; trained embeddings are saved as modules anyway
            model.save_pretrained(
                str(folder), safe_serialization=True, save_embedding_layers=False, state_dict=tensors
            )
        write_head_config(model.get_base_model(), str(model.active_peft_config.task_type), folder)

    @contextlib.contextmanager
    def settle_export(self, model: Module) -> Iterator[dict[str, Tensor] | None]:
        """Within it, the adapter's settings are those that are saved.

        Yields:
            What is saved in place of the model's tensors, by their full names; None for these themselves.
        """
        yield None

    def can_load(self, settings: Mapping[str, Any]) -> bool:
        return self.is_made_by(settings)

    def can_stack(self, settings: Mapping[str, Any]) -> bool:
        same = str(settings.get("peft_type") or "").upper() == self.peft_type
        # a direction that DoRA scales is that of the weights below it, whatever is added to them
        # and an expert's weights carry one adapter
        alone = settings.get("use_dora") or settings.get("target_parameters")
        # peft computes rows of embeddings for one adapter at a time
        alone = alone or settings.get("trainable_token_indices")
        return self.stacks and same and not alone

    def read_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = {field: settings[name] for field, name in self.names.items() if name in settings}
        targets = settings.get("target_modules")
        if isinstance(targets, list):
            # full names stand for the layers that they are in, which are named apart
            found["targets"] = sorted({str(name).rpartition(".")[2] for name in targets})
        elif isinstance(targets, str):
            found["targets"] = targets
        experts = settings.get("target_parameters") or []
        if experts:
            named = found.get("targets") or []
            named = [named] if isinstance(named, str) else named
            found["targets"] = [*named, *sorted({".".join(str(name).split(".")[-2:]) for name in experts})]
        layers = settings.get("layers_to_transform")
        return found | ({"layers": len(layers)} if isinstance(layers, list) else {})

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        return self._load_one(base, folder, trained=True)

    def load_adapter(self, base: Module, folder: Path) -> Module:
        model = self._load_one(base, folder)
        below = list_below(folder)
        if below:
            put_below(model, below)
        return model

    def _load_one(self, base: Module, folder: Path, trained: bool = False) -> Module:
        from peft import PeftModel

        stored = read_stored(folder)
        rows = stored.embedding_rows
        if rows and rows != base.get_input_embeddings().weight.shape[0]:
            base.resize_token_embeddings(rows, mean_resizing=False)
        try:
            with warnings.catch_warnings():
                # peft only warns about missing names; `_check_places` refuses them
                warnings.simplefilter("ignore")
                model = PeftModel.from_pretrained(base, str(folder), is_trainable=trained)
        # peft and safetensors raise errors of many types for damaged files
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _refuse_adapter(error, folder) from error
        _check_places(model, stored, folder, self.is_copy)
        join_cache_names(model)
        return model

    def is_copy(self, name: str) -> bool:
        """Return whether a tensor, by its name in a file, is another name of one that is saved."""
        return False

    def leaves_base(self, stored: Stored) -> bool:
        begins = stored.settings.get("init_lora_weights")
        return (
            begins in _BEGINNINGS
            and not stored.settings.get("loftq_config")
            # fused experts are replaced by their sum with the update while a model computes
            and not stored.settings.get("target_parameters")
            and not any(name.endswith(EMBEDDINGS) for name in stored.whole_tensors)
        )

    def merge_weights(self, model: Module) -> Module:
        """Return the model with its adapter merged into its weights, without adapter layers.

        LoRA's products are added to the weights, and IA3's factors multiplied into them, both rounded to the
        dtype of the weights.

        Raises:
            ModelError: weights in 4 or 8 bits would be rounded a second time.
        """
        refuse_quantised_merging(model.get_base_model())
        return model.merge_and_unload(safe_merge=True)

    def unwrap_model(self, model: Module) -> Module:
        return model.get_base_model()

    def note_revision(self, model: Module, revision: str) -> None:
        model.active_peft_config.revision = revision or None


class OtherAdapter(PeftMethod):
    """An adapter of a type that peft supports and no method here trains; it can be loaded and merged."""

    def __init__(self) -> None:
        super().__init__("adapter")

    @property
    def kind(self) -> MethodKind:
        return MethodKind(
            self.name, N_("Adapter"), N_("A peft adapter."), frozenset({Trait.ADAPTER, Trait.MERGEABLE})
        )

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        return True

    def leaves_base(self, stored: Stored) -> bool:
        # peft's other types may change the base model's weights when they are put on it
        return False


def put_below(model: Module, folders: list[Path]) -> None:
    """Put saved adapters under the one of a model, frozen and active with it. The head is that of the model.

    Raises:
        ModelError: one of them is damaged, or made for another model.
    """
    from peft import PeftConfig, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer
    from safetensors.torch import load_file

    top = model.active_adapter
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    names = [f"{BELOW}{place}" for place in range(1, len(folders) + 1)]
    for name, folder in zip(names, folders, strict=True):
        read_stored(folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.add_adapter(name, PeftConfig.from_pretrained(str(folder)))
            found = set_peft_model_state_dict(model, load_file(folder / WEIGHTS), adapter_name=name)
        # peft and safetensors raise errors of many types for damaged files
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _refuse_adapter(error, folder) from error
        check_adapter_names(found.unexpected_keys, (), folder)
    # peft's own `set_adapter` refuses several where a head is saved, of which only one can be computed
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter([*names, top])
    for name, one in model.named_parameters():
        one.requires_grad_(name in trained)


def name_below(model: Module) -> list[str]:
    """Return peft's names of the frozen adapters under the trained one."""
    return [name for name in getattr(model, "peft_config", {}) if name.startswith(BELOW)]


def wrap_peft_model(model: Module, settings: Any) -> Module:
    """Put an adapter onto a model, as described by a config of peft.

    Raises:
        ConfigError: peft does not support this adapter on a layer of this model.
    """
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(one_line(error, 300), where="method.kind", hint=_("Use lora.")) from error


@contextlib.contextmanager
def _without_wrapper(model: Module) -> Iterator[None]:
    """Save an adapter for question answering without its task, while this context is open."""
    settings = model.active_peft_config
    # peft's wrapper for this task drops token types and positions, so that a program that loads the adapter
    # would compute other answers than were trained. Without a task peft passes all inputs on, as the adapter
    # loader of transformers does; the adapter's config names the saved parts of the head all the same
    if str(settings.task_type) != DROPPING or settings.is_prompt_learning:
        yield
        return
    task, settings.task_type = settings.task_type, None
    try:
        yield
    finally:
        settings.task_type = task


def _check_places(model: Module, stored: Stored, folder: Path, is_copy: Callable[[str], bool]) -> None:
    """Raise `ModelError` if weights of the adapter have no place in the model, or if it lacks some."""
    from peft import get_peft_model_state_dict

    # The base model's embeddings are not part of the adapter, and peft would ask a hub about them
    wanted = {_strip_version(name) for name in get_peft_model_state_dict(model, save_embedding_layers=False)}
    given = {_strip_version(name): name for name in stored.shapes}
    # peft saves embeddings that an adapter sits on, too; they are the base model's own
    known = (*EMBEDDINGS, *(end.replace(".weight", ".base_layer.weight") for end in EMBEDDINGS))
    over = [name for plain, name in given.items() if plain not in wanted and not name.endswith(known)]
    needed = {name for name in wanted if not is_copy(name)}
    check_adapter_names(over, needed - given.keys(), folder)


def _strip_version(name: str) -> str:
    return _OLDER.sub("", name)


def _refuse_adapter(error: Exception, folder: Path) -> ModelError:
    found = _OTHER_SHAPE.search(str(error))
    if found is None:
        return ModelError(
            _("the adapter cannot be loaded: {error}", error=one_line(error, 300)),
            where=one_line(folder),
            hint=_("Check that the base model is the one it was trained on."),
        )
    return ModelError(
        _(
            "the adapter belongs to another model: {name} has the shape {stored}, but this model needs "
            "{wanted}.",
            name=one_line(found[1].removeprefix("base_model.model."), 120),
            stored=found[2],
            wanted=found[3],
        ),
        where=one_line(folder),
        hint=_("Check that the base model is the one it was trained on."),
    )
