"""Comparison of the memory ledger with a trace of the installed libraries' own code.

Pure arithmetic; `launch.tracing` makes the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
from tui_tuner.locales import _
from tui_tuner.methods.numbers.terms import Form, Sublayers
from tui_tuner.planning.memory.ledger import (
    DECODER,
    ENCODER,
    FIRST,
    FORWARD,
    LAST,
    LOSS,
    STEP,
    choose_simulated_layers,
    make_ledger,
)
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.static import count_setup_temporary, count_shadow_bytes
from tui_tuner.planning.optimizer_states import TrainedTensors, round_up, sum_states

TRACED = (Form.LOW_RANK, Form.MAGNITUDES, Form.SINGULAR, Form.SUBLAYERS)
AGREE = 0.01  # the ledger is confirmed within this
GIB = 2**30
_PHASES = {"forward": FORWARD, "loss": LOSS, "last": LAST, "first": FIRST, "step": STEP}
_PHASES |= {"decoder": DECODER, "encoder": ENCODER}


@dataclass(frozen=True)
class Check:
    """Peak bytes of a step as computed and as traced, and both for each phase by its name in the ledger."""

    computed: float
    traced: float
    phases: dict[str, tuple[float, float]]

    @property
    def peak_difference(self) -> float:
        """Return the difference of the traced peak from the computed one, as a share."""
        return self.traced / self.computed - 1

    @property
    def is_confirmed(self) -> bool:
        return abs(self.peak_difference) <= AGREE

    def describe_check(self) -> str:
        """Describe the outcome in a sentence, for a screen."""
        computed, traced = self.computed / GIB, self.traced / GIB
        if self.is_confirmed:
            return _(
                "Confirmed by a trace of the installed libraries: {traced:.2f} GiB allocated "
                "({difference:+.1%}).",
                traced=traced,
                difference=self.peak_difference,
            )
        phase = max(self.phases, key=lambda name: self.phases[name][1])
        return _(
            "A trace of the installed libraries finds {traced:.2f} GiB allocated, not "
            "{computed:.2f} ({difference:+.1%}); peak: {phase}.",
            traced=traced,
            computed=computed,
            difference=self.peak_difference,
            phase=_(phase),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {
            "difference": self.peak_difference,
            "confirmed": self.is_confirmed,
            "computed_gib": self.computed / GIB,
            "traced_gib": self.traced / GIB,
            "phases": {
                name: {"computed_gib": computed / GIB, "traced_gib": traced / GIB}
                for name, (computed, traced) in self.phases.items()
            },
        }


def check_trace(setup: Setup, traces: dict[str, Any]) -> Check:
    """Extend the line through traces of two and three layers to all of them, and compare with the ledger.

    Args:
        traces: By the number of trained layers, as text: what `training.tracing.step.trace_step` returns.
    """
    trained, counts = setup.trained_layers, choose_simulated_layers(setup)
    # With so few layers that all were traced, both are the same trace
    few, more = traces[str(counts[0])], traces[str(counts[-1])]
    static = _sum_static(setup, more)
    further = (trained - counts[0]) / max(1, counts[-1] - counts[0])
    sizes = {
        name: static + _extend_peak(few["peaks"], more["peaks"], name, further) for name in more["peaks"]
    }
    sizes["step"] = static + _sum_step(setup, more)
    computed = {phase.name: phase.total_bytes for phase in make_ledger(setup).phases}
    # Phases that the ledger does not tell apart have nothing to be compared with
    phases = {
        title: (computed[title], sizes[name])
        for name, title in _PHASES.items()
        if name in sizes and title in computed
    }
    return Check(max(computed.values()), max(sizes.values()), phases)


def _extend_peak(few: dict[str, float], more: dict[str, float], name: str, further: float) -> float:
    """Extrapolate a phase's peak: from `few`, by `further` times the difference between `more` and `few`."""
    start = few.get(name, 0.0)
    return start + further * (more.get(name, 0.0) - start)


def _sum_static(setup: Setup, trace: dict[str, Any]) -> float:
    """Sum the bytes between two steps: weights as traced, and states of the trained tensors."""
    weights, trained = trace["weights"], setup.trained_layers
    # Only some layers were traced, so weights are put together from one of each kind
    size = weights["rest"] + trained * weights["trained"] + (setup.facts.layers - trained) * weights["frozen"]
    if setup.facts.dense_layers or setup.facts.source:
        size = weights["whole"]  # all layers were traced
    if setup.states:
        size += _sum_states(setup, trace)
    # The trace has no allocator: the batch and the workspaces come from the ledger's own figures
    return size + 4 * round_up(8.0 * setup.total_tokens) + setup.workspace


def _sum_states(setup: Setup, trace: dict[str, Any]) -> float:
    """Sum the bytes that optimizer and method keep between steps."""
    found = _list_trained(setup, trace)
    measured = sum(setup.measured * round_up(one.size) * one.copies for one in found)
    return sum_states(setup.optimizer, found, setup.optimizer_rank) + measured


def _list_trained(setup: Setup, trace: dict[str, Any]) -> list[TrainedTensors]:
    """List every trained tensor."""

    def read(tensors: list[Any], copies: int, inside: bool) -> list[TrainedTensors]:
        return [
            TrainedTensors(count, width, copies, False, shape=tuple(shape), inside=inside, table=table)
            for count, width, shape, table in tensors
        ]

    if setup.facts.dense_layers or setup.facts.source:
        return read(trace["tensors"]["whole"], 1, True)
    rest, layer = trace["tensors"]["rest"], trace["tensors"]["layer"]
    return read(rest, 1, False) + read(layer, setup.trained_layers, True)


def _sum_step(setup: Setup, trace: dict[str, Any]) -> float:
    """Sum the bytes beyond the static ones during the optimizer's step."""
    gradients = sum(one.size * one.copies for one in _list_trained(setup, trace))
    return (
        count_shadow_bytes(setup)
        + count_setup_temporary(setup)
        + gradients
        + (0.0 if setup.states else _sum_states(setup, trace))
    )


def explain_untraceable(setup: Setup) -> str:
    """Explain why these settings cannot be traced; empty if they can."""
    facts = setup.facts
    if setup.stack.foreign or setup.stack.program_name != "transformers":
        return _("library versions other than the installed ones were requested")
    if not facts.raw:
        return _("the model has no config.json")
    if facts.encoder and not (setup.head or setup.hides):
        return _(
            "{model_type} does not generate text, and is traced only with a classification head",
            model_type=facts.model_type,
        )
    # Tensors of a trace hold no data, so code that looks at values cannot run
    if facts.model_type == "modernbert":
        return _(
            "the code of {model_type} reads the values of its mask, which a trace does not have",
            model_type=facts.model_type,
        )
    if facts.family.shared:
        return _("its layers share their weights")
    if setup.train_embeddings:
        return _("embeddings trained together with an adapter are not traced")
    if facts.source is not None and setup.layers:
        return _("the encoder is frozen, and only some layers of the decoder are trained")
    if setup.padded and setup.attention == "flash":
        return _("FlashAttention 2 removes the padding of each batch, which needs real rows")
    if facts.family.softcap and setup.attention != "eager":
        return _("{model_type} runs with eager attention only", model_type=facts.model_type)
    if setup.form not in TRACED or setup.virtual_tokens or setup.elsewhere or setup.own:
        return _("only LoRA, DoRA, AdaLoRA, bottleneck adapters, full fine-tuning and top layers are traced")
    if facts.dense_layers and len(choose_simulated_layers(setup)) > 1:
        return _("its layers differ from each other")
    return ""


def make_trace_request(setup: Setup) -> dict[str, Any]:
    """Build the request for the operation `trace` of a helper process."""
    tokens = setup.total_tokens
    method: dict[str, Any] = {"kind": setup.kind}
    if not (setup.trains_weights or setup.virtual_tokens):
        # Fields of the section `method` that a traced adapter reads
        method |= {
            "rank": setup.rank,
            "dropout": setup.dropout,
            "targets": "all-linear" if setup.targets == {"all-linear"} else sorted(setup.targets),
            "train_embeddings": setup.train_embeddings,
            "rank_pattern": dict(setup.ranks) or None,
        }
    told = setup.sublayers
    if told is not None:
        method = {"kind": setup.kind} | ({} if told.fused else _describe_bottleneck(setup, told))
    return {
        "config": setup.facts.raw,
        "method": method,
        "fused": [told.style, told.sizes] if told is not None and told.fused else None,
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
        "frozen": setup.trained_layers < setup.facts.layers,
        "layers": list(choose_simulated_layers(setup)),
        "sources": [setup.source_length] * setup.batch if setup.facts.source else None,
        "tops": max(0, setup.layers),
        "untied": not setup.facts.tied,
        "hides": setup.hides,
        "decides": setup.decides,
        "outputs": setup.head[-1].matrix.outputs if setup.head else 0,
        "new_pooler": setup.new_pooler,
    }


def _describe_bottleneck(setup: Setup, told: Sublayers) -> dict[str, Any]:
    """The fields of the section `method` that make such adapters."""
    return {
        "style": told.style,
        "reduction": setup.facts.hidden / told.sizes[0],
        "non_linearity": "swish" if told.keeps_input else "relu",
        "layer_norm": told.layer_norm,
    }
