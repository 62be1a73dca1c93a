"""Tier 2: what to trace of the installed libraries' own code, and what that says of the ledger.

Pure arithmetic: `launch.tracing` has it traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
from tui_tuner.locales import _
from tui_tuner.planning.memory.ledger import FIRST, FORWARD, LAST, LOSS, STEP, ledger, simulated_layers
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.static import rounded, shadow_bytes, state_bytes, step_temporary

AGREE = 0.01  # the ledger is confirmed within this
GIB = 2**30
_PHASES = {"forward": FORWARD, "loss": LOSS, "last": LAST, "first": FIRST, "step": STEP}


@dataclass(frozen=True)
class Check:
    """Peak bytes of a step as computed and as traced, and both for each phase by its name in the ledger."""

    computed: float
    traced: float
    phases: dict[str, tuple[float, float]]

    @property
    def difference(self) -> float:
        """Traced peak against the computed one, as a share."""
        return self.traced / self.computed - 1

    @property
    def confirmed(self) -> bool:
        return abs(self.difference) <= AGREE

    def sentence(self) -> str:
        """For a screen."""
        computed, traced = self.computed / GIB, self.traced / GIB
        if self.confirmed:
            return _(
                "Confirmed by a trace of the installed libraries: {traced:.2f} GiB allocated "
                "({difference:+.1%}).",
                traced=traced,
                difference=self.difference,
            )
        phase = max(self.phases, key=lambda name: self.phases[name][1])
        return _(
            "A trace of the installed libraries says {traced:.2f} GiB allocated, not {computed:.2f} "
            "({difference:+.1%}); peak: {phase}.",
            traced=traced,
            computed=computed,
            difference=self.difference,
            phase=_(phase),
        )

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {
            "difference": self.difference,
            "confirmed": self.confirmed,
            "computed_gib": self.computed / GIB,
            "traced_gib": self.traced / GIB,
            "phases": {
                name: {"computed_gib": computed / GIB, "traced_gib": traced / GIB}
                for name, (computed, traced) in self.phases.items()
            },
        }


def check(setup: Setup, traces: dict[str, Any]) -> Check:
    """Extend the line through traces of two and three layers to all of them, and compare with the ledger.

    Args:
        traces: By the number of trained layers, as text: what `training.tracing.step.trace` returns.
    """
    trained, counts = setup.layers or setup.facts.layers, simulated_layers(setup)
    few, more = traces[str(counts[0])], traces[str(counts[-1])]
    static = _static(setup, more)
    further = (trained - counts[0]) / max(1, counts[-1] - counts[0])
    sizes = {name: static + _extended(few["peaks"], more["peaks"], name, further) for name in more["peaks"]}
    sizes["step"] = static + _step(setup, more)
    computed = {phase.name: phase.total for phase in ledger(setup).phases}
    phases = {
        title: (computed[title], sizes[name])
        for name, title in _PHASES.items()
        if name in sizes and title in computed
    }
    return Check(max(computed.values()), max(sizes.values()), phases)


def _extended(few: dict[str, float], more: dict[str, float], name: str, further: float) -> float:
    """A phase's peak with so many times the layers more that `more` has beyond `few`."""
    start = few.get(name, 0.0)
    return start + further * (more.get(name, 0.0) - start)


def _static(setup: Setup, trace: dict[str, Any]) -> float:
    """Bytes between two steps: weights as traced, and what follows from the trained tensors."""
    weights, trained = trace["weights"], setup.layers or setup.facts.layers
    size = weights["rest"] + trained * weights["trained"] + (setup.facts.layers - trained) * weights["frozen"]
    if setup.facts.dense_layers:
        size = weights["whole"]  # all layers were traced
    if setup.states:
        size += _states(setup, trace)
    return size + 4 * rounded(8.0 * setup.tokens) + setup.workspace


def _states(setup: Setup, trace: dict[str, Any]) -> float:
    """Bytes that the optimizer keeps between steps."""
    return sum(
        copies * state_bytes(setup.optimizer, count, width) for count, width, copies in _trained(setup, trace)
    )


def _trained(setup: Setup, trace: dict[str, Any]) -> list[tuple[int, int, int]]:
    """(elements, width, copies) of every trained tensor."""
    if setup.facts.dense_layers:
        return [(*tensor, 1) for tensor in trace["tensors"]["whole"]]
    rest, layer = trace["tensors"]["rest"], trace["tensors"]["layer"]
    copies = setup.layers or setup.facts.layers
    return [(*tensor, 1) for tensor in rest] + [(*tensor, copies) for tensor in layer]


def _step(setup: Setup, trace: dict[str, Any]) -> float:
    """Bytes beyond the static ones while the optimizer steps."""
    gradients = sum(count * width * copies for count, width, copies in _trained(setup, trace))
    return (
        shadow_bytes(setup)
        + step_temporary(setup)
        + gradients
        + (0.0 if setup.states else _states(setup, trace))
    )


def untraceable(setup: Setup) -> str:
    """Why a trace cannot answer for these settings; empty if it can."""
    facts = setup.facts
    if setup.stack.foreign or setup.stack.program != "transformers":
        return _("other library versions than the installed ones were asked for")
    if not facts.raw:
        return _("the model has no config.json")
    if facts.encoder and not setup.head:
        return _(
            "{model_type} writes no text, and is traced with a head that decides", model_type=facts.model_type
        )
    if facts.model_type == "modernbert":
        return _("{model_type} looks at the values of its mask", model_type=facts.model_type)
    if facts.family.shared:
        return _("its layers share their weights")
    if setup.train_embeddings:
        return _("embeddings that are trained beside an adapter are not traced")
    if setup.padded and setup.attention == "flash":
        return _("FlashAttention 2 cuts padding out of each batch, which needs the batch")
    if facts.family.softcap and setup.attention != "eager":
        return _("{model_type} runs with eager attention only", model_type=facts.model_type)
    if setup.variant not in ("", "dora") or setup.virtual_tokens:
        return _("only LoRA, DoRA, full fine-tuning and top layers are traced")
    if facts.dense_layers and len(simulated_layers(setup)) > 1:
        return _("its layers are not alike")
    return ""


def request_for(setup: Setup) -> dict[str, Any]:
    """What the operation `trace` of a helper process needs to know."""
    tokens = setup.tokens
    method: dict[str, Any] = {"kind": setup.method}
    if setup.method == "lora":
        method = {
            "kind": setup.variant or "lora",
            "rank": setup.rank,
            "dropout": setup.dropout,
            "targets": "all-linear" if "all-linear" in setup.targets else sorted(setup.targets),
            "train_embeddings": setup.train_embeddings,
        }
    return {
        "config": setup.facts.raw,
        "method": method,
        "dtype": {2: "bfloat16", 4: "float32"}[setup.weight],
        "quantization": setup.quantization,
        "double_quant": setup.double_quant,
        "rows": [setup.length] * setup.batch,
        "supervised": max(1, round(tokens * setup.supervised)),
        "packing": not setup.padded,
        "chunk": setup.chunk,
        "compact": setup.logits == "supervised",
        "eager": setup.attention == "eager",
        "autocast": setup.autocast,
        "checkpointing": EVERY_SECOND
        if setup.every_second
        else OFFLOAD
        if setup.offload
        else setup.checkpointing,
        "accumulate": setup.accumulate,
        "quick": setup.quick,
        "frozen": 0 < setup.layers < setup.facts.layers,
        "layers": list(simulated_layers(setup)),
        "decides": setup.decides,
        "outputs": setup.head[-1].matrix.outputs if setup.head else 0,
        "new_pooler": setup.new_pooler,
    }
