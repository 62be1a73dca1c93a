"""The head of a model, and the parts of a model that start with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CONVERSIONS = "_weight_conversions"  # where transformers keeps what it did to names
RANDOM = "weights_begun_at_random"  # an attribute of a model that `models.loading` made
# It makes one state of a text. It belongs to the head, but transformers keeps it in the backbone.
POOLER = "pooler"


def list_head_modules(model: Any) -> list[str]:
    """List the modules outside the backbone that hold weights: `classifier`, `score`, `qa_outputs`, ..., in
        order.

    The backbone is the part with the input embeddings. A bare backbone has no head.
    """
    embeddings = model.get_input_embeddings()
    children = list(model.named_children())
    if not any(module is embeddings for _name, child in children for module in child.modules()):
        return []
    return [
        name
        for name, child in children
        if not any(module is embeddings for module in child.modules())
        and next(child.parameters(), None) is not None
    ]


def note_random_weights(model: Any, names: Sequence[str]) -> None:
    """Record on a model which of its weights were not read from files."""
    setattr(model, RANDOM, tuple(names))


def list_random_weights(model: Any) -> tuple[str, ...]:
    """List the weights of a loaded model that were not read from files; empty for one made from nothing."""
    found: tuple[str, ...] = getattr(model, RANDOM, ())
    return found


def note_random_head(model: Any) -> None:
    """Record on a model made from nothing the weights that belong to the head although they are in the
    backbone.
    """
    note_random_weights(
        model, [name for name, _unused in model.named_parameters() if POOLER in name.split(".")]
    )


def list_new_modules(model: Any) -> list[str]:
    """List the modules that must be trained with any method: the head, and random parts of the backbone.

    An example is BERT's pooler if the files come from masked-language modelling, which has none.
    """
    found = dict.fromkeys(list_head_modules(model))
    for name in getattr(model, RANDOM, ()):
        parts = name.split(".")
        if not any(name.startswith(f"{head}.") for head in found):
            # A pooler is trained whole, any other weight with the module that holds it.
            place = parts.index(POOLER) + 1 if POOLER in parts else len(parts) - 1
            found[".".join(parts[:place])] = None
    return list(found)


def renew_head_outputs(model: Any) -> None:
    """Give the last matrices of a head, one output for each class, new random weights.

    Draws from the global seed.
    """
    import torch

    heads = [getattr(model, name) for name in list_head_modules(model)]
    std = float(getattr(model.config.get_text_config(), "initializer_range", None) or 0.02)
    with torch.no_grad():
        for module in (inner for head in heads for inner in head.modules()):
            # Layers before the last one may be useful for other classes too, so they keep what they learned.
            if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels:
                module.weight.normal_(0.0, std)
                if module.bias is not None:
                    module.bias.zero_()


def map_backbone_names(auto_class: str, settings: Any) -> dict[str, str]:
    """Map weight names in files to those of a model, for `from_pretrained(key_mapping=...)`.

    Some families name the backbone differently in one class: `transformer` in a Llama for question answering,
    whose files have `model`. Without the mapping transformers would find none of its weights.
    """
    import transformers

    kinds = getattr(transformers, auto_class)._model_mapping
    if type(settings) not in kinds:
        return {}
    kind = kinds[type(settings)]
    own = vars(kind).get("base_model_prefix") if isinstance(kind, type) else None
    usual = {getattr(one, "base_model_prefix", "") for one in kind.__mro__[1:]} - {"", own} if own else set()
    return {rf"^{name}\.": f"{own}." for name in sorted(usual)}


def forget_weight_renaming(model: Any, mapping: Mapping[str, str]) -> None:
    """Make a model save its weights under its own names instead of those of the files they came from."""
    known = getattr(model, _CONVERSIONS, None)
    if mapping and known:
        names = set(mapping)
        kept = [one for one in known if not names & set(getattr(one, "source_patterns", ()))]
        setattr(model, _CONVERSIONS, kept)
