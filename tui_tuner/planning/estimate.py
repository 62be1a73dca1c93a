"""The memory estimate of a config's training step, which the form, the planner and the CLI share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.compute.attention.kernel_choice import replaces_attention
from tui_tuner.compute.chunks import count_chunk_rows
from tui_tuner.compute.numeric import find_compute_dtype
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.options import get_config_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD
from tui_tuner.config.values import edit_values
from tui_tuner.locales import N_, _, _n
from tui_tuner.methods.saved.starting_adapter import count_frozen
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.gpus import MOST_GPUS, Card, find_gpu_card
from tui_tuner.planning.hardware import Gpu, Hardware, detect_hardware
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.planning.heads.parameters import WIDTHS
from tui_tuner.planning.memory.attention_steps import choose_simulated_attention
from tui_tuner.planning.memory.ledger import Ledger, make_ledger
from tui_tuner.planning.memory.method_fields import make_method_fields
from tui_tuner.planning.memory.programs import adapt_setup_to_program, explain_program_lack
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack, find_installed_stack
from tui_tuner.planning.memory.static import list_trained_tensors
from tui_tuner.planning.resolve import ResolvedRun, resolve_config

GIB = 1024**3
DEFAULT_CARD = "A100-80"  # whose context and workspaces are assumed if no GPU is named
EXPANDABLE = 0.02  # reserved beyond allocated with expandable segments
PADDED_CACHE, PACKED_CACHE = 0.09, 0.28  # the same without, median of the published rows of either kind
SEGMENT = 2 * 1024**2  # the allocator asks the driver for multiples of this
CPU_CACHE = 0.10  # what malloc keeps of freed memory, of the same
VERIFIED_BAND, UNVERIFIED_BAND = 0.03, 0.15
NCCL = 1.4  # GiB more on each of several GPUs, the least of what was published
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
    name other sources of the figures than the ledger.
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
    resolved: ResolvedRun | None = field(default=None, compare=False)

    @property
    def allocator_cache(self) -> float:
        """Return the memory that the allocator reserves beyond tensors, in GiB."""
        return self.reserved - self.allocated

    @property
    def process_context(self) -> float:
        """Return the memory on the device outside the allocator, in GiB: CUDA's context."""
        return self.device - self.reserved

    @property
    def safe_limit(self) -> float:
        """Return the memory in GiB that must be free on the device for the run to be safe."""
        return self.device + self.allocated * self.band * 2 / 3 + 300 / 1024

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {
            "allocated_gib": self.allocated,
            "reserved_gib": self.reserved,
            "device_gib": self.device,
            "cache_gib": self.allocator_cache,
            "context_gib": self.process_context,
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


def estimate_memory(
    config: RunConfig,
    *,
    facts: ModelFacts | None = None,
    card: Card | str | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
    network: bool = True,
) -> Estimate:
    """Estimate the memory of a run from its config and the model's config.json alone.

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
    card = find_gpu_card(card) if isinstance(card, str) else card
    stack = stack or find_installed_stack()
    resolved = resolve_for_card(config, facts, card, stack, data)
    setup = make_memory_setup(resolved.config, facts, stack, card, data)
    return make_estimate(make_ledger(setup), setup, card, resolved, count_step_devices(resolved.config))


def resolve_for_card(
    config: RunConfig, facts: ModelFacts, card: Card | None, stack: Stack, data: DataFacts | None = None
) -> ResolvedRun:
    """Resolve `auto` as on that card. A foreign stack is taken for Hugging Face's Trainer: mixed precision in
    bfloat16 over weights in bfloat16."""
    card = card or find_gpu_card(DEFAULT_CARD)
    # Another stack means someone else's training script: what is left open there has the Trainer's defaults
    if stack.foreign:
        customary = {"model.dtype": "bfloat16", "training.autocast": True}
        open_ones = {
            path: value for path, value in customary.items() if get_config_value(config, path) == "auto"
        }
        config = edit_values(config, open_ones)
    return resolve_config(config, hardware=make_imaginary_machine(card), model_facts=facts, data_facts=data)


def count_step_devices(config: RunConfig) -> int:
    """Return how many GPUs share a step; 1 on a processor."""
    return config.hardware.devices if isinstance(config.hardware.devices, int) else 1


def make_imaginary_machine(card: Card, count: int = MOST_GPUS) -> Hardware:
    """Return an imaginary machine with GPUs of one kind; for a processor, this one without GPUs."""
    if card.cpu:
        return replace(detect_hardware(), gpus=())
    gpus = tuple(Gpu(index, card.name, card.total, card.usable, card.capability) for index in range(count))
    return Hardware(gpus=gpus, cores=8, memory_gib=64, available_gib=64, cpu_bf16=True)


def make_memory_setup(
    config: ResolvedConfig, facts: ModelFacts, stack: Stack, card: Card | None, data: DataFacts | None = None
) -> Setup:
    """Reduce a config to the numbers that memory depends on."""
    model, method, training = config.model, config.method, config.training
    card = card or find_gpu_card(DEFAULT_CARD)
    weight = WIDTHS[model.dtype]
    micro = training.micro_batch
    padded = not config.may_pack
    # The fullest pass decides: memory must suffice for every step, not for a mean one
    batch, length, supervised = _add_virtual(config, _find_fullest(config, micro, data))
    source_length = 0
    if facts.source is not None:
        batch, length, supervised, source_length = _find_fullest_sides(config, micro, data)
    full_logits = training.loss == "full_logits" or stack.foreign
    # As transformers computes it; replaced below where this program's own core does
    attention, repeats = _name_attention(model.attention, padded), not stack.gqa_in_sdpa
    if not (padded or stack.foreign) and replaces_attention(
        model.attention, card.compute_device, facts.family.softcap
    ):
        attention, repeats = choose_simulated_attention(
            facts, card.compute_device, stack, find_compute_dtype(card.compute_device, config)
        )
    row = 0
    if card.cpu and facts.attention_dropout:  # no kernel there knows dropout: scores are written out
        attention, row = "eager", config.data.max_length
    head = find_trained_head(config, facts, data)
    setup = Setup(
        row=row,
        facts=facts,
        decides=head.decides,
        head=head.list_parts(facts),
        new_pooler=head.new_pooler,
        hides=config.task_kind.hides and facts.encoder,
        stack=stack,
        batch=batch,
        length=length,
        source_length=source_length,
        padded=padded,
        supervised=supervised,
        quantization=model.quantization,
        double_quant=model.double_quant,
        weight=weight,
        # Scripts for transformers 4 call `prepare_model_for_kbit_training`, which casts norms to float32
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
        chunk=_count_chunk_rows(config, facts, card, full_logits),
        # Managed memory is CUDA's: on a processor the states of a paged optimizer stay where they are
        optimizer=training.optimizer.removeprefix("paged_") if card.cpu else training.optimizer,
        optimizer_rank=training.optimizer_rank,
        foreach=(stack.uses_foreach and training.optimizer == "adamw")
        or (training.optimizer == "schedule_free" and not card.cpu),
        quick=not stack.foreign and not card.cpu,
        accumulate=training.batch_size > micro * count_step_devices(config),
        workspace=card.workspace_bytes,
        below=count_frozen(config),
        **make_method_fields(method, facts, stack),
    )
    return adapt_setup_to_program(setup)


def _find_fullest(config: ResolvedConfig, micro: int, data: DataFacts | None) -> tuple[int, int, float]:
    """Return sequences, their length and the share of trained tokens of the fullest possible forward pass."""
    length = config.data.max_length
    # The share of hidden tokens is chosen in each row, so no pass has more
    share = config.trained_share
    if data is None or not data.heaviest:
        return micro, length, share
    rows = micro
    batch, length = micro, min(length, data.longest or length)
    # A flat pass holds as many rows as fit into micro-batch times max_length, whatever their number
    if config.may_pack:
        rows = -(-config.training.batch_size // count_step_devices(config))
        room = micro * config.data.max_length
        batch, length = 1, max(length, min(room, data.most_tokens(rows) or room))
    trained = data.most_supervised(rows)
    # At least one trained token: a share of 0 would simulate a step without a loss
    share = share if trained is None else min(1.0, max(trained, 1) / (batch * length))
    return batch, length, share


def _find_fullest_sides(
    config: ResolvedConfig, micro: int, data: DataFacts | None
) -> tuple[int, int, float, int]:
    """Return sequences, the length of their targets, the share of trained tokens among these, and the length
    of their sources, of the fullest possible forward pass of an encoder-decoder."""
    if not config.task_kind.encoder_decoder:
        return micro, config.data.max_length, 1.0, config.data.max_length
    source, target = config.data.max_source, config.data.max_target
    if data is None or not data.most_trained:
        return micro, target, 1.0, source
    target = min(target, data.most_trained[0])
    trained = data.most_supervised(micro) or micro * target
    source = min(source, data.longest_source or source)
    return micro, target, min(1.0, max(trained, 1) / (micro * target)), source


def _count_chunk_rows(config: ResolvedConfig, facts: ModelFacts, card: Card, full_logits: bool) -> int:
    """Return how many positions have logits at once; 0 if the loss is computed in one piece."""
    whole = full_logits or not config.may_pack or find_compute_dtype(card.compute_device, config) == "float16"
    return (
        0 if whole or facts.family.softcap else count_chunk_rows(facts.vocab, "cpu" if card.cpu else "cuda")
    )


def _add_virtual(config: RunConfig, fullest: tuple[int, int, float]) -> tuple[int, int, float]:
    """Add the virtual tokens of a prompt method, which have no labels."""
    batch, length, share = fullest
    virtual = 0 if config.method.has_trait(Trait.PREFIX) else config.method.prompt_length
    return batch, length + virtual, share * length / (length + virtual)


def _name_attention(name: str, padded: bool) -> str:
    if name == "eager":
        return "eager"
    return "masked" if padded and name != "flash_attention_2" else "flash"


def make_estimate(
    found: Ledger, setup: Setup, card: Card | None, resolved: ResolvedRun | None = None, devices: int = 1
) -> Estimate:
    """Turn bytes into the numbers that people compare: allocated, reserved, device total.

    Args:
        devices: GPUs that share a step. Each holds a copy of everything and buckets for the gradients.
    """
    card = card or find_gpu_card(DEFAULT_CARD)
    peak = found.peak_phase
    sizes = dict(peak.rows)
    # DDP copies gradients into buckets of its own before they are reduced
    if devices > 1:
        sizes[BUCKETS] = sum(t.count * t.width * t.copies for t in list_trained_tensors(setup))
    allocated = sum(sizes.values())
    reserved = _round_reserved(allocated, setup, card)
    context = card.context + (NCCL if devices > 1 else 0.0)
    # The first reason found is enough: the band is the same for all
    doubt = setup.facts.why_unverified if not setup.facts.verified else ""
    doubt = (
        doubt or setup.stack.explain_doubt() or explain_program_lack(setup) or _explain_doubt(card, devices)
    )
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
        phases={phase.name: (phase.total_bytes + sizes.get(BUCKETS, 0.0)) / GIB for phase in found.phases},
        verified=not doubt,
        reason=doubt,
        band=max(band, card.error),
        stack=setup.stack.name_versions(),
        notes=_describe_calibration(card),
        resolved=resolved,
    )


def _round_reserved(allocated: float, setup: Setup, card: Card) -> float:
    """Return the bytes that the allocator reserves for so many allocated ones."""
    if card.cpu:
        return allocated * (1 + CPU_CACHE)
    share = EXPANDABLE if not setup.stack.foreign else PADDED_CACHE if setup.padded else PACKED_CACHE
    # What runs on this GPU have shown beats the median of published ones
    if card.cache is not None:
        share = card.cache
    return -(-(allocated * (1 + share)) // SEGMENT) * SEGMENT


def _explain_doubt(card: Card, devices: int) -> str:
    """Explain why figures for a device are less certain; empty if they are not."""
    if card.cpu:
        return _("formulas made for GPUs, checked against few runs on processors")
    return _("several GPUs were never measured") if devices > 1 else ""


def _describe_calibration(card: Card) -> tuple[str, ...]:
    """Describe what measurements of this machine changed."""
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
