"""Methods that train the model's own weights: all of them, or the top layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.methods.layers import HEADED, find_final_norms, find_layers
from tui_tuner.methods.method import Method
from tui_tuner.methods.name_pattern import choose_names, suggest_patterns
from tui_tuner.methods.numbers.model_weights import TopLayersNumbers, WholeModelNumbers
from tui_tuner.models.new_weights import list_new_modules
from tui_tuner.text import join_sentence_items, one_line

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Full(WholeModelNumbers, Method):
    """Full fine-tuning: every weight is trained."""

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        model.requires_grad_(True)
        return model


class Freeze(TopLayersNumbers, Method):
    """Train the last `method.layers` layers, the norm after them, and the head of a task that has one.

    With 0 layers only the head is trained; `method.pattern` names other weights.
    """

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        model.requires_grad_(False)
        headed = peft_type in HEADED
        if config.method.trained_names:
            _train_named(model, config.method.trained_names)
        elif config.method.layers == 0:
            if not headed:
                _train_writing_head(model)
        else:
            _train_top(model, config.method.layers or 1)
        if headed:
            for name in list_new_modules(model):
                model.get_submodule(name).requires_grad_(True)
        return model


def _train_top(model: Module, count: int) -> None:
    layers = find_layers(model)
    if count > len(layers):
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=count, layers=len(layers)),
            where="method.layers",
        )
    for layer in layers[-count:]:
        layer.requires_grad_(True)
    # The head that writes text stays frozen: in many models it is the embedding matrix too, and training that
    # would change the input of every frozen layer
    for norm in find_final_norms(model):
        norm.requires_grad_(True)


def _train_writing_head(model: Module) -> None:
    head = model.get_output_embeddings()
    if head is None or head.weight is model.get_input_embeddings().weight:
        raise ConfigError(
            _("this model's head is its embedding matrix: training it would change what all layers read."),
            where="method.layers",
            hint=build_hint(
                N_("Train the last layer too: {command}.", command=write_setting({"method.layers": 1}))
            ),
        )
    head.requires_grad_(True)


def _train_named(model: Module, pattern: str) -> None:
    # Weights that are shared have all their names here, and each of them may be meant
    weights = dict(model.named_parameters(remove_duplicate=False))
    chosen = choose_names(pattern, weights)
    if not chosen:
        near = join_sentence_items(suggest_patterns(pattern, weights))
        raise ConfigError(
            _("no weight of this model has a name like {pattern!r}.", pattern=one_line(pattern, 120)),
            where="method.pattern",
            field="method.pattern",
            hint=_("Patterns that fit names of this model: {names}.", names=one_line(near, 300)),
        )
    for name in chosen:
        weights[name].requires_grad_(True)


WHOLE = Full("full")
METHODS = (WHOLE, Freeze("freeze"))
