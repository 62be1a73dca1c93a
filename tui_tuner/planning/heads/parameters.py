"""How many parameters a model has under a method, and how many of them are trained, as PEFT counts them.

Pure arithmetic over shapes. A head that is trained beside an adapter is there twice, for PEFT keeps the
original beside the copy that learns (`peft.utils.ModulesToSaveWrapper`), and so are trained embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.kinds import ADAPTERS, METHOD_FIELDS, PROMPTS
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import _
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.architectures.heads import Part, head_parts
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.heads.outputs import head_of
from tui_tuner.planning.memory.methods import feed_forward, targets_of
from tui_tuner.planning.memory.stack import Stack, installed

ALL = "all-linear"
NETWORK = "mlp_head"  # peft's name for what makes virtual tokens in P-tuning


@dataclass(frozen=True)
class Parameters:
    """Trained parameters and all of them.

    `doubt` says why they may be others, empty where they are exact; `basis` where the classes of a head are
    from, empty without one.
    """

    trained: int
    total: int
    doubt: str = ""
    basis: str = ""

    @property
    def share(self) -> float:
        """The trained part."""
        return self.trained / self.total if self.total else 0.0

    def sentence(self) -> str:
        """For a screen."""
        said = {"trained": self.trained, "total": self.total, "share": 100 * self.share}
        if self.doubt:
            return _(
                "about {trained:,} of {total:,} parameters trained ({share:.4f} %): {doubt}",
                doubt=self.doubt,
                **said,
            )
        if self.basis:
            return _(
                "{trained:,} of {total:,} parameters trained ({share:.4f} %); head: {basis}",
                basis=self.basis,
                **said,
            )
        return _("{trained:,} of {total:,} parameters trained ({share:.4f} %)", **said)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {
            "trained_parameters": self.trained,
            "total_parameters": self.total,
            "parameters_exact": not self.doubt,
        }


def parameters_of(
    config: RunConfig, facts: ModelFacts, data: DataFacts | None = None, stack: Stack | None = None
) -> Parameters:
    """Parameters of a run, as far as its rows and its model's config tell."""
    head = head_of(config, facts, data)
    found = count_parameters(
        facts, config.method, head.decides, head.outputs, new_pooler=head.new_pooler, stack=stack
    )
    return replace(found, basis=head.basis)


def count_parameters(
    facts: ModelFacts,
    method: MethodSection,
    decides: str = "",
    outputs: int = 2,
    *,
    new_pooler: bool = False,
    stack: Stack | None = None,
) -> Parameters:
    """Parameters of a run's model with its method.

    Args:
        decides: For what the task's head decides (`TaskKind.decides`); empty for a model that writes.
        outputs: Classes of the head, or numbers.
        new_pooler: The backbone's pooler begins with random weights, so it is trained with the head.
    """
    stack = stack or installed()
    parts = head_parts(facts, decides, outputs)
    base = facts.parameters
    if parts:
        base = facts.body_parameters + sum(part.parameters for part in parts)
    head = [part for part in parts if new_pooler or not part.inside]
    kept = sum(part.parameters for part in head)
    doubt = _doubt(facts, method, parts)
    if method.kind == "full":
        return Parameters(base, base, doubt)
    if method.kind == "freeze":
        return Parameters(_top_layers(facts, method.layers or 1) + kept, base, doubt)
    if method.kind in PROMPTS:
        added = virtual_parameters(facts, method, bool(parts))
        base += _kept_network(facts, method, head)
    else:
        added = sum(_beside(one, facts, method, stack) for one in adapted(facts, method, parts, head, stack))
    if "train_embeddings" in METHOD_FIELDS[method.kind] and method.train_embeddings:
        kept += facts.token_parameters
        if not parts and not facts.tied:
            kept += facts.head_parameters
    return Parameters(added + kept, base + added + kept, doubt)


def adapted(
    facts: ModelFacts,
    method: MethodSection,
    parts: tuple[Part, ...],
    head: list[Part],
    stack: Stack,
) -> Iterator[Linear]:
    """Every matrix that gets an adapter, in and outside of the layers."""
    targets = targets_of(method)
    tops = min(method.layers or facts.own_layers, facts.own_layers)
    for place in range(facts.own_layers - tops, facts.own_layers):
        of_layer = facts.without_experts if place in facts.dense_places else facts
        yield from (linear for linear in of_layer.linears if stack.adapts(linear, targets))
    if ALL in targets or method.layers is not None:
        return  # of these only the layers get adapters
    yield from (
        part.matrix
        for part in parts
        if part not in head and not part.norm and stack.adapts(part.matrix, targets)
    )


def _beside(linear: Linear, facts: ModelFacts, method: MethodSection, stack: Stack) -> int:
    """Trained numbers of the adapter beside a matrix."""
    rank, inputs, outputs = method.rank, linear.inputs, linear.outputs
    if method.kind == "ia3":
        forward = linear.name in feed_forward(facts, targets_of(method), stack)
        return inputs if forward else outputs
    if method.kind == "vera":
        return rank + outputs
    low_rank = rank * (inputs + outputs)
    if method.kind == "loha":
        return 2 * low_rank
    return low_rank + (outputs if method.kind == "dora" else 0)


def _top_layers(facts: ModelFacts, count: int) -> int:
    """Parameters of the last layers and of the norm behind them."""
    count = min(count, facts.own_layers)
    found = facts.beside.norms
    if not (facts.encoder and facts.family.norm_bias):
        found += facts.final_norm
    for place in range(facts.own_layers - count, facts.own_layers):
        found += (facts.without_experts if place in facts.dense_places else facts).layer_parameters
    return found - (facts.hidden if count == facts.layers and not facts.family.first_norm else 0)


def virtual_parameters(facts: ModelFacts, method: MethodSection, decides: bool) -> int:
    """What makes the virtual tokens of a prompt method, as PEFT does; 0 for any other."""
    if method.kind not in PROMPTS:
        return 0
    width = facts.embedding_width if decides else facts.hidden
    count, inner = method.virtual_tokens, method.encoder_size
    if method.kind == "prompt_tuning":
        return count * width
    if method.kind == "p_tuning":
        inner = inner or facts.embedding_width
        return count * width + (width + 1) * inner + (inner + 1) * inner + (inner + 1) * width
    keys, every = facts.kv_dim, facts.layers * 2 * facts.kv_dim
    if inner is None:
        return count * every
    return count * keys + (keys + 1) * inner + (inner + 1) * every


def _kept_network(facts: ModelFacts, method: MethodSection, head: list[Part]) -> int:
    """P-tuning's network where it is there twice: its name ends as that of a head, which peft keeps.

    ModernBERT's `head` is the end of `mlp_head`, as the network is called.
    """
    names = {part.matrix.name.split(".")[0] for part in head}
    if method.kind != "p_tuning" or not any(NETWORK.endswith(name) for name in names):
        return 0
    return virtual_parameters(facts, method, True) - method.virtual_tokens * facts.embedding_width


def _doubt(facts: ModelFacts, method: MethodSection, parts: tuple[Part, ...]) -> str:
    """Why the counts may be others."""
    if facts.uncounted:
        return facts.uncounted
    targets = targets_of(method) - {ALL}
    if "targets" not in METHOD_FIELDS[method.kind]:
        return ""
    if facts.low_rank_key and method.kind in ADAPTERS:
        return _("adapters of {name} were not looked at", name=facts.model_type)
    known = {step for linear in facts.linears for step in (linear.name, linear.name.split(".")[-1])}
    known |= {part.matrix.name.split(".")[-1] for part in parts}
    if targets - known:
        return _("method.targets has names that are not in the table of this architecture")
    return ""
