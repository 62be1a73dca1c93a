"""From a config to the memory of its training step: the one call behind the form, the planner and the CLI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.gpus import Card, find_card
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.planning.memory.ledger import Ledger, ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack, installed
from tui_tuner.planning.resolve import DataFacts, Resolved, resolve

GIB = 1024**3
DEFAULT_CARD = "A100-80"  # whose context and workspaces are taken where no GPU is named
EXPANDABLE = 0.02  # reserved beyond allocated with expandable segments
PADDED_CACHE, PACKED_CACHE = 0.09, 0.28  # the same without, median of the published rows of either kind
SEGMENT = 2 * 1024**2  # the allocator asks the driver for multiples of this
VERIFIED_BAND, UNVERIFIED_BAND = 0.03, 0.15
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
ALLOCATOR, CONTEXT = "allocator cache", "context"


@dataclass(frozen=True)
class Row:
    """A named part of the peak."""

    name: str
    gib: float
    phase: str


@dataclass(frozen=True)
class Estimate:
    """Peak memory of a step, in GiB.

    `rows` of the peak's phase sum to `allocated`; with the allocator's cache and the CUDA context they sum to
    `device`. `phases` has every phase's peak. `band` is the share by which a measurement may differ.
    """

    allocated: float
    reserved: float
    device: float
    static: float
    phase: str
    rows: tuple[Row, ...]
    phases: dict[str, float]
    verified: bool
    reason: str
    band: float
    stack: dict[str, str]
    resolved: Resolved | None = field(default=None, compare=False)

    @property
    def upper(self) -> float:
        """What has to be free on the device for the run to be safe, in GiB."""
        return self.device + self.allocated * self.band * 2 / 3 + 300 / 1024

    def to_json(self) -> dict[str, Any]:
        """The documented JSON form."""
        return {
            "allocated_gib": self.allocated,
            "reserved_gib": self.reserved,
            "device_gib": self.device,
            "static_gib": self.static,
            "phase": self.phase,
            "rows": [{"name": row.name, "gib": row.gib, "phase": row.phase} for row in self.rows],
            "verified": self.verified,
            "stack": self.stack,
            "reason": self.reason,
            "band": self.band,
        }


def estimate(
    config: RunConfig,
    *,
    facts: ModelFacts | None = None,
    card: Card | str | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
    network: bool = True,
) -> Estimate:
    """Memory of a run, from its config and the model's config.json alone.

    Args:
        config: The run; what is `auto` is resolved for the card first.
        facts: The model's shapes; looked up from `config.model` otherwise.
        card: The GPU, by object or name; without one, an A100's context and workspace are assumed.
        stack: Library versions; the installed ones otherwise.
        data: What is known of the rows; without it every token counts as trained and rows as full.
        network: Whether the hub may be asked for a config.json.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
        HardwareError: no such GPU.
    """
    facts = facts or load_facts(config.model, network=network)
    card = find_card(card) if isinstance(card, str) else card
    stack = stack or installed()
    resolved = resolve_for(config, facts, card, stack, data)
    setup = setup_for(resolved.config, facts, stack, card, data)
    return from_ledger(ledger(setup), setup, card, resolved)


def resolve_for(
    config: RunConfig, facts: ModelFacts, card: Card | None, stack: Stack, data: DataFacts | None = None
) -> Resolved:
    """Resolve `auto` as on that card. A foreign stack is taken for Hugging Face's Trainer: mixed precision in
    bfloat16 over weights in bfloat16."""
    card = card or find_card(DEFAULT_CARD)
    config = config.model_copy(deep=True)
    if stack.foreign and config.model.dtype == "auto":
        config.model.dtype = "bfloat16"
    if stack.foreign and config.training.autocast == "auto":
        config.training.autocast = True
    return resolve(config, hardware=machine(card), model_facts=facts, data_facts=data, fit=False)


def machine(card: Card, count: int = 8) -> Hardware:
    """A machine with GPUs of one kind, as planning sees it."""
    gpus = tuple(Gpu(index, card.name, card.total, card.usable, card.capability) for index in range(count))
    return Hardware(gpus=gpus, cores=8, memory_gib=64, available_gib=64, cpu_bf16=True)


def setup_for(
    config: RunConfig, facts: ModelFacts, stack: Stack, card: Card | None, data: DataFacts | None = None
) -> Setup:
    """The numbers that memory depends on, from a resolved config."""
    model, method, training = config.model, config.method, config.training
    card = card or find_card(DEFAULT_CARD)
    weight = WIDTHS[model.dtype]
    adapters = method.kind in ADAPTERS
    length, padded = config.data.max_length, not config.data.packing
    if data and data.longest and padded:
        length = min(length, data.longest)
    supervised = 1.0
    if data and data.tokens and data.supervised:
        supervised = min(1.0, data.supervised / data.tokens)
    micro = training.micro_batch
    assert isinstance(micro, int) and isinstance(training.autocast, bool)
    full_logits = training.loss == "full_logits" or stack.foreign
    attention = _attention(str(model.attention), padded)
    optimizer = str(training.optimizer)
    return Setup(
        facts=facts,
        stack=stack,
        batch=micro,
        length=length,
        padded=padded,
        supervised=supervised,
        method=method.kind if not adapters else "lora",
        targets=frozenset([method.targets] if isinstance(method.targets, str) else method.targets),
        rank=method.rank if adapters else 0,
        dropout=method.dropout if adapters else 0.0,
        variant="dora" if method.kind == "dora" else "",
        layers=min(method.layers or 0, facts.layers),
        train_embeddings=adapters and method.train_embeddings,
        quantization=model.quantization,
        double_quant=model.double_quant,
        weight=weight,
        norm=4 if model.quantization != "none" and stack.foreign and not stack.fused_experts else weight,
        embedding=weight,
        adapter=4,
        autocast=training.autocast,
        compute=2 if training.autocast or weight == 2 else 4,
        checkpointing=bool(training.gradient_checkpointing),
        attention=attention,
        expand_keys=attention == "masked"
        or (model.attention != "flash_attention_2" and not stack.gqa_in_sdpa),
        logits="full" if full_logits else "supervised",
        optimizer=optimizer,
        foreach=stack.foreach and optimizer == "adamw",
        accumulate=training.batch_size > micro,
        workspace=card.workspace,
    )


def _attention(name: str, padded: bool) -> str:
    if name == "eager":
        return "eager"
    return "masked" if padded and name != "flash_attention_2" else "flash"


def from_ledger(found: Ledger, setup: Setup, card: Card | None, resolved: Resolved | None = None) -> Estimate:
    """Turn bytes into the numbers that people compare: allocated, reserved, device total."""
    peak = found.peak
    context = (card or find_card(DEFAULT_CARD)).context
    allocated = peak.total
    share = EXPANDABLE if not setup.stack.foreign else PADDED_CACHE if setup.padded else PACKED_CACHE
    reserved = -(-(allocated * (1 + share)) // SEGMENT) * SEGMENT
    doubt = "" if setup.facts.verified else setup.facts.why_unverified
    doubt = doubt or setup.stack.doubt()
    rows = [Row(name, size / GIB, peak.name) for name, size in sorted(peak.rows.items(), key=lambda i: -i[1])]
    rows.append(Row(ALLOCATOR, (reserved - allocated) / GIB, "reserved"))
    rows.append(Row(CONTEXT, context, "device"))
    return Estimate(
        allocated=sum(row.gib for row in rows[:-2]),
        reserved=reserved / GIB,
        device=reserved / GIB + context,
        static=sum(found.static.values()) / GIB,
        phase=peak.name,
        rows=tuple(rows),
        phases={phase.name: phase.total / GIB for phase in found.phases},
        verified=not doubt,
        reason=doubt,
        band=UNVERIFIED_BAND if doubt else VERIFIED_BAND,
        stack={name: setup.stack.versions.get(name, "") for name in ("transformers", "torch", "peft")},
        resolved=resolved,
    )
