"""The head of a model: what stands on its stack of layers, and what of a model begins with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_CONVERSIONS = "_weight_conversions"  # where transformers keeps what it did to names
RANDOM = "weights_begun_at_random"  # an attribute of a model that `models.loading` made
POOLER = "pooler"  # what makes one state of a text; it belongs to the head, and stands in the backbone


def head_names(model: Any) -> list[str]:
    """The modules beside the backbone that hold weights: `classifier`, `score`, `qa_outputs`, ..., in order.

    The backbone is the part with the input embeddings. A model that is no more than that has no head.
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


def note_random(model: Any, names: Sequence[str]) -> None:
    """Keep on a model which of its weights were not read from files."""
    setattr(model, RANDOM, tuple(names))


def note_all_random(model: Any) -> None:
    """Keep on a model made from nothing what belongs to the head though it stands in the backbone."""
    note_random(model, [name for name, _unused in model.named_parameters() if POOLER in name.split(".")])


def new_modules(model: Any) -> list[str]:
    """The modules that have to be trained with any method: the head, and what of the backbone begins random.

    Such as BERT's pooler where the files come from a model of masked words, which has none.
    """
    found = dict.fromkeys(head_names(model))
    for name in getattr(model, RANDOM, ()):
        parts = name.split(".")
        if not any(name.startswith(f"{head}.") for head in found):
            place = parts.index(POOLER) + 1 if POOLER in parts else len(parts) - 1
            found[".".join(parts[:place])] = None
    return list(found)


def renew_outputs(model: Any) -> None:
    """Give the last matrices of a head, one output for each class, new random weights.

    Draws from the global seed. What comes before them may serve other classes as well.
    """
    import torch

    heads = [getattr(model, name) for name in head_names(model)]
    std = float(getattr(model.config.get_text_config(), "initializer_range", None) or 0.02)
    with torch.no_grad():
        for module in (inner for head in heads for inner in head.modules()):
            if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels:
                module.weight.normal_(0.0, std)
                if module.bias is not None:
                    module.bias.zero_()


def renamed_backbone(auto_class: str, settings: Any) -> dict[str, str]:
    """How names of weights in files become those of a model, for `from_pretrained(key_mapping=...)`.

    Some families call the backbone otherwise in one class than in all others: `transformer` in a Llama that
    answers questions, whose files have `model`. Without this transformers finds none of its weights.
    """
    import transformers

    kinds = getattr(transformers, auto_class)._model_mapping
    if type(settings) not in kinds:
        return {}
    kind = kinds[type(settings)]
    own = vars(kind).get("base_model_prefix") if isinstance(kind, type) else None
    usual = {getattr(one, "base_model_prefix", "") for one in kind.__mro__[1:]} - {"", own} if own else set()
    return {rf"^{name}\.": f"{own}." for name in sorted(usual)}


def forget_renaming(model: Any, mapping: Mapping[str, str]) -> None:
    """Save a model by its own names: transformers would give weights those of the files they came from."""
    known = getattr(model, _CONVERSIONS, None)
    if mapping and known:
        names = set(mapping)
        kept = [one for one in known if not names & set(getattr(one, "source_patterns", ()))]
        setattr(model, _CONVERSIONS, kept)
