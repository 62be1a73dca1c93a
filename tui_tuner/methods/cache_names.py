"""The cache of keys and values, which transformers 5.24 calls `cache` and peft 0.21 `past_key_values`.

transformers still takes the old name as an argument, but gives back and shows the new one only. peft then
refuses prefix tuning of classifiers, and puts the virtual tokens before each token of an answer again. Where
both agree on a name, nothing here changes what they do.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

OLD, NEW = "past_key_values", "cache"


def find_cache(output: Any) -> Any:
    """Return the cache of a model's output, by whichever name it has there; None without one."""
    fields = getattr(output, "__dict__", {})  # newer outputs answer to the old name too, with a warning
    return fields.get(NEW, fields.get(OLD))


def join_cache_names(model: Module) -> None:
    """Have a model of peft with virtual tokens and its base model understand both names of the cache."""
    if not model.active_peft_config.is_prompt_learning:
        return
    base = model.get_base_model()
    # peft looks at what the model takes, and for some heads at what the model below the head takes
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
    # by the old name it would do too, with a warning
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
    """Return the inputs of a step of an answer, with its cache by both names."""
    inputs = prepare(*args, **kwargs)
    # a cache of states alone (Mamba) had a third name, and no length that peft could ask for
    states = getattr(inputs.get(NEW), "is_linear", ())
    if NEW in inputs and not (states and all(states)):
        inputs[OLD] = inputs[NEW]
    return inputs


def _prepare_new_name(prepare: Any, *args: Any, **kwargs: Any) -> Any:
    """Return peft's inputs of a step with the cache by the new name, also where peft put in another one."""
    inputs = prepare(*args, **kwargs)
    if NEW in inputs and OLD in inputs:
        put = inputs.pop(OLD)
        if put is not kwargs.get(NEW):
            inputs[NEW] = put
    return inputs
