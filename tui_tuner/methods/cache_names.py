"""The two names of the cache of keys and values: `cache` in transformers 5.24, else `past_key_values`.

transformers 5.24 accepts the old name as an argument, but its signatures and outputs have only the new one.
Without this module, peft 0.21 refuses prefix tuning for classifiers, and repeats the virtual tokens before
every token of an answer. If both libraries use the same name, nothing changes.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

OLD, NEW = "past_key_values", "cache"


def find_cache(output: Any) -> Any:
    """Return the cache in a model's output, under either name; None if there is none."""
    # Reading the old name as an attribute makes transformers 5.24 warn.
    fields = getattr(output, "__dict__", {})
    return fields.get(NEW, fields.get(OLD))


def join_cache_names(model: Module) -> None:
    """Make a model of peft and its base model accept both names; only with virtual tokens."""
    if not model.active_peft_config.is_prompt_learning:
        return
    base = model.get_base_model()
    # For some heads, peft reads the signature of the model below the head.
    for module in dict.fromkeys((base, getattr(base, "base_model", base))):
        signature = inspect.signature(module.forward)
        if NEW in signature.parameters and OLD not in signature.parameters:
            forward = partial(_forward_with_new_name, module.forward)
            forward.__signature__ = _add_old_name(signature)  # type: ignore[attr-defined]
            module.forward = forward
    if hasattr(model, "base_model_prepare_inputs_for_generation"):
        own = model.base_model_prepare_inputs_for_generation
        model.base_model_prepare_inputs_for_generation = partial(_prepare_both_names, own)
        model.prepare_inputs_for_generation = partial(_prepare_new_name, model.prepare_inputs_for_generation)


def _forward_with_new_name(forward: Any, *args: Any, **kwargs: Any) -> Any:
    # transformers accepts the old name as well, but warns.
    if OLD in kwargs:
        kwargs[NEW] = kwargs.pop(OLD)
    return forward(*args, **kwargs)


def _add_old_name(signature: inspect.Signature) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    last = parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    old = inspect.Parameter(OLD, inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters.insert(len(parameters) - last, old)
    return signature.replace(parameters=parameters)


def _prepare_both_names(prepare: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the inputs for the next token, with the cache under both names."""
    inputs = prepare(*args, **kwargs)
    # Mamba's cache never had the old name, and has no length for peft to read.
    states = getattr(inputs.get(NEW), "is_linear", ())
    if NEW in inputs and not (states and all(states)):
        inputs[OLD] = inputs[NEW]
    return inputs


def _prepare_new_name(prepare: Any, *args: Any, **kwargs: Any) -> Any:
    """Return peft's inputs for the next token, with the cache under the new name only."""
    inputs = prepare(*args, **kwargs)
    # With prefix tuning, peft replaces the cache of the first step by one that holds the prefix.
    if NEW in inputs and OLD in inputs:
        put = inputs.pop(OLD)
        if put is not kwargs.get(NEW):
            inputs[NEW] = put
    return inputs
