"""From a config to the memory of its training step: the one call behind the form, the planner and the CLI."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.compute.attention.choice import replaces
from tui_tuner.compute.chunks import chunk_rows
from tui_tuner.compute.numeric import compute_name
from tui_tuner.config.options import get_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
from tui_tuner.config.values import with_values
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.gpus import MOST_GPUS, Card, find_card
from tui_tuner.planning.hardware import Gpu, Hardware, detect
from tui_tuner.planning.heads.outputs import head_of
from tui_tuner.planning.memory.attention import attention_kind
from tui_tuner.planning.memory.ledger import Ledger, ledger
from tui_tuner.planning.memory.methods import method_fields
from tui_tuner.planning.memory.programs import as_program, missing
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack, installed
from tui_tuner.planning.memory.static import trained_tensors
from tui_tuner.planning.resolve import Resolved, resolve

GIB = 1024**3
DEFAULT_CARD = "A100-80"  # whose context and workspaces are taken where no GPU is named
EXPANDABLE = 0.02  # reserved beyond allocated with expandable segments
PADDED_CACHE, PACKED_CACHE = 0.09, 0.28  # the same without, median of the published rows of either kind
SEGMENT = 2 * 1024**2  # the allocator asks the driver for multiples of this
CPU_CACHE = 0.10  # what malloc keeps of freed memory, of the same
VERIFIED_BAND, UNVERIFIED_BAND = 0.03, 0.15
NCCL = 1.4  # GiB more on each of several GPUs, the least of what was published
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
ALLOCATOR, CONTEXT, PROCESS = N_("allocator cache"), N_("context"), N_("process")
BUCKETS = N_("gradient buckets")


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
    `device`. `phases` has every phase's peak. `band` is the share by which a measurement may differ. `notes`
    say what the figures rest on beside the ledger.
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
    notes: tuple[str, ...] = ()
    resolved: Resolved | None = field(default=None, compare=False)

    @property
    def cache(self) -> float:
        """What the allocator holds beyond tensors, in GiB."""
        return self.reserved - self.allocated

    @property
    def context(self) -> float:
        """What the process takes on the device beside the allocator, in GiB: CUDA's context."""
        return self.device - self.reserved

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
            "cache_gib": self.cache,
            "context_gib": self.context,
            "static_gib": self.static,
            "phase": self.phase,
            "rows": [{"name": row.name, "gib": row.gib, "phase": row.phase} for row in self.rows],
            "verified": self.verified,
            "stack": self.stack,
            "reason": self.reason,
            "band": self.band,
            "phases": self.phases,
            "notes": list(self.notes),
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
        data: What is known of the rows. Unless all were tokenised, every token counts as trained and rows as
            full: the fullest batch decides, and a sample does not show it.
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
    return from_ledger(ledger(setup), setup, card, resolved, devices_of(resolved.config))


def resolve_for(
    config: RunConfig, facts: ModelFacts, card: Card | None, stack: Stack, data: DataFacts | None = None
) -> Resolved:
    """Resolve `auto` as on that card. A foreign stack is taken for Hugging Face's Trainer: mixed precision in
    bfloat16 over weights in bfloat16."""
    card = card or find_card(DEFAULT_CARD)
    if stack.foreign:
        customary = {"model.dtype": "bfloat16", "training.autocast": True}
        open_ones = {path: value for path, value in customary.items() if get_value(config, path) == "auto"}
        config = with_values(config, open_ones)
    return resolve(config, hardware=machine(card), model_facts=facts, data_facts=data)


def devices_of(config: RunConfig) -> int:
    """GPUs that share a step; 1 on a processor."""
    return config.hardware.devices if isinstance(config.hardware.devices, int) else 1


def machine(card: Card, count: int = MOST_GPUS) -> Hardware:
    """A machine with GPUs of one kind, as planning sees it; for RAM, this one without GPUs."""
    if card.cpu:
        return replace(detect(), gpus=())
    gpus = tuple(Gpu(index, card.name, card.total, card.usable, card.capability) for index in range(count))
    return Hardware(gpus=gpus, cores=8, memory_gib=64, available_gib=64, cpu_bf16=True)


def setup_for(
    config: ResolvedConfig, facts: ModelFacts, stack: Stack, card: Card | None, data: DataFacts | None = None
) -> Setup:
    """The numbers that memory depends on."""
    model, method, training = config.model, config.method, config.training
    card = card or find_card(DEFAULT_CARD)
    weight = WIDTHS[model.dtype]
    micro = training.micro_batch
    padded = not config.packs
    batch, length, supervised = _with_virtual(config, _fullest(config, micro, data))
    full_logits = training.loss == "full_logits" or stack.foreign
    attention, repeats = _attention(model.attention, padded), not stack.gqa_in_sdpa
    if not (padded or stack.foreign) and replaces(model.attention, card.device, facts.family.softcap):
        attention, repeats = attention_kind(facts, card.device, stack, compute_name(card.device, config))
    row = 0
    if card.cpu and facts.attention_dropout:  # no kernel there knows dropout: scores are written out
        attention, row = "eager", config.data.max_length
    head = head_of(config, facts, data)
    setup = Setup(
        row=row,
        facts=facts,
        decides=head.decides,
        head=head.parts(facts),
        new_pooler=head.new_pooler,
        stack=stack,
        batch=batch,
        length=length,
        padded=padded,
        supervised=supervised,
        quantization=model.quantization,
        double_quant=model.double_quant,
        weight=weight,
        norm=4 if model.quantization != "none" and stack.foreign and not stack.fused_experts else weight,
        embedding=weight,
        adapter=4,
        autocast=training.autocast,
        compute=2 if training.autocast or weight == 2 else 4,
        checkpointing=training.gradient_checkpointing is not False,
        every_second=training.gradient_checkpointing == EVERY_SECOND,
        offload=training.gradient_checkpointing == OFFLOAD,
        attention=attention,
        expand_keys=attention == "masked" or (model.attention != "flash_attention_2" and repeats),
        logits="full" if full_logits else "supervised",
        chunk=_chunk(config, facts, card, full_logits),
        optimizer=training.optimizer,
        foreach=stack.foreach and training.optimizer == "adamw",
        quick=not stack.foreign and not card.cpu,
        accumulate=training.batch_size > micro * devices_of(config),
        workspace=card.workspace,
        **method_fields(method, facts, stack),
    )
    return as_program(setup)


def _fullest(config: ResolvedConfig, micro: int, data: DataFacts | None) -> tuple[int, int, float]:
    """Sequences, their length and the share of trained tokens of the fullest forward pass there can be."""
    length = config.data.max_length
    if data is None or not data.heaviest:
        return micro, length, 1.0
    rows = micro
    batch, length = micro, min(length, data.longest or length)
    if config.packs:
        rows = -(-config.training.batch_size // devices_of(config))
        room = micro * config.data.max_length
        batch, length = 1, max(length, min(room, data.most_tokens(rows) or room))
    trained = data.most_supervised(rows)
    share = 1.0 if trained is None else min(1.0, max(trained, 1) / (batch * length))
    return batch, length, share


def _chunk(config: ResolvedConfig, facts: ModelFacts, card: Card, full_logits: bool) -> int:
    """Positions whose logits exist at once; 0 where the loss is computed in one piece (`training.loss`)."""
    whole = full_logits or not config.packs or compute_name(card.device, config) == "float16"
    return 0 if whole or facts.family.softcap else chunk_rows(facts.vocab, "cpu" if card.cpu else "cuda")


def _with_virtual(config: RunConfig, fullest: tuple[int, int, float]) -> tuple[int, int, float]:
    """The same with the virtual tokens of a prompt method, none of which is trained on."""
    batch, length, share = fullest
    virtual = config.method.prompt_length if config.method.kind != "prefix_tuning" else 0
    return batch, length + virtual, share * length / (length + virtual)


def _attention(name: str, padded: bool) -> str:
    if name == "eager":
        return "eager"
    return "masked" if padded and name != "flash_attention_2" else "flash"


def from_ledger(
    found: Ledger, setup: Setup, card: Card | None, resolved: Resolved | None = None, devices: int = 1
) -> Estimate:
    """Turn bytes into the numbers that people compare: allocated, reserved, device total.

    Args:
        devices: GPUs that share a step. Each holds a copy of everything and buckets for the gradients.
    """
    card = card or find_card(DEFAULT_CARD)
    peak = found.peak
    sizes = dict(peak.rows)
    if devices > 1:
        sizes[BUCKETS] = sum(t.count * t.width * t.copies for t in trained_tensors(setup))
    allocated = sum(sizes.values())
    reserved = _reserved(allocated, setup, card)
    context = card.context + (NCCL if devices > 1 else 0.0)
    doubt = setup.facts.why_unverified if not setup.facts.verified else ""
    doubt = doubt or setup.stack.doubt() or missing(setup) or _doubt(card, devices)
    band = UNVERIFIED_BAND if doubt else VERIFIED_BAND
    rows = [Row(name, size / GIB, peak.name) for name, size in sorted(sizes.items(), key=lambda i: -i[1])]
    rows.append(Row(ALLOCATOR, (reserved - allocated) / GIB, "reserved"))
    rows.append(Row(PROCESS if card.cpu else CONTEXT, context, "device"))
    return Estimate(
        allocated=sum(row.gib for row in rows[:-2]),
        reserved=reserved / GIB,
        device=reserved / GIB + context,
        static=sum(found.static.values()) / GIB,
        phase=peak.name,
        rows=tuple(rows),
        phases={phase.name: (phase.total + sizes.get(BUCKETS, 0.0)) / GIB for phase in found.phases},
        verified=not doubt,
        reason=doubt,
        band=max(band, card.error),
        stack=setup.stack.named(),
        notes=_notes(card),
        resolved=resolved,
    )


def _reserved(allocated: float, setup: Setup, card: Card) -> float:
    """Bytes that the allocator holds for so many allocated ones."""
    if card.cpu:
        return allocated * (1 + CPU_CACHE)
    share = EXPANDABLE if not setup.stack.foreign else PADDED_CACHE if setup.padded else PACKED_CACHE
    if card.cache is not None:
        share = card.cache
    return -(-(allocated * (1 + share)) // SEGMENT) * SEGMENT


def _doubt(card: Card, devices: int) -> str:
    """Why figures for a device are less sure."""
    if card.cpu:
        return _("a GPU's formulas, compared with few runs on processors")
    return _("several GPUs were never measured") if devices > 1 else ""


def _notes(card: Card) -> tuple[str, ...]:
    """What measurements of this machine have changed."""
    if not card.runs:
        return ()
    said = {"context": card.context, "runs": card.runs, "error": card.error}
    if card.cache is None:
        note = _n(
            "context ({context:.2f} GiB) as measured in {runs} run here, "
            "whose peaks were {error:+.1%} from the prediction",
            "context ({context:.2f} GiB) as measured in {runs} runs here, "
            "whose peaks were {error:+.1%} from the prediction",
            card.runs,
            **said,
        )
    else:
        note = _n(
            "context ({context:.2f} GiB) and allocator cache ({cache:.1%}) as measured in {runs} run here, "
            "whose peaks were {error:+.1%} from the prediction",
            "context ({context:.2f} GiB) and allocator cache ({cache:.1%}) as measured in {runs} runs here, "
            "whose peaks were {error:+.1%} from the prediction",
            card.runs,
            cache=card.cache,
            **said,
        )
    return (note,)
