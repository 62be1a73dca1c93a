"""What a config's method comes down to in the numbers of a `Setup`."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.kinds import ADAPTERS, METHOD_FIELDS, PROMPTS
from tui_tuner.config.schema import MethodSection
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.stack import Stack


def targets_of(method: MethodSection) -> frozenset[str]:
    """`method.targets` as a set of names."""
    return frozenset([method.targets] if isinstance(method.targets, str) else method.targets)


def method_fields(method: MethodSection, facts: ModelFacts, stack: Stack) -> dict[str, Any]:
    """Fields of `Setup` that follow from the method."""
    targets = targets_of(method)
    reads = METHOD_FIELDS[method.kind]
    found: dict[str, Any] = {
        "method": "lora" if method.kind in ADAPTERS else method.kind,
        "targets": targets if "targets" in reads else frozenset({"all-linear"}),
        "rank": method.rank if "rank" in reads else 0,
        "dropout": method.dropout if "dropout" in reads else 0.0,
        "layers": min(method.layers or 0, facts.layers) if "layers" in reads else 0,
        "train_embeddings": "train_embeddings" in reads and method.train_embeddings,
    }
    if method.kind in ("dora", "loha", "vera"):
        found["variant"] = method.kind
    if method.kind == "ia3":
        found.update(variant="ia3", rank=1, feedforward=feed_forward(facts, targets, stack))
    if method.kind in PROMPTS:
        asked = method.encoder_size if "encoder_size" in reads else None
        encoder = asked or (facts.hidden if method.kind == "p_tuning" else 0)
        found.update(method=method.kind, virtual_tokens=method.virtual_tokens, encoder=encoder)
    return found


def feed_forward(facts: ModelFacts, targets: frozenset[str], stack: Stack) -> frozenset[str]:
    """Targets that lead out of a feed-forward block, whose inputs IA3 scales (arXiv 2205.05638)."""
    return frozenset(
        linear.name
        for linear in facts.linears
        if linear.group in ("mlp", "shared")
        and linear.inputs > linear.outputs == facts.hidden
        and stack.adapts(linear, targets)
    )
