"""Learning-rate rules, side by side: each names its source, its inputs and its result.

`auto` is `customary`: a value that is usual for the task and method, scaled by nothing that was not
measured. The other rules are shown beside it, where their inputs are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tui_tuner.config.kinds import RANKED, is_tiny
from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts


@dataclass(frozen=True)
class Customary:
    """A usual peak rate, the range people use, and where that comes from."""

    rate: float
    low: float
    high: float
    source: str


METHOD_RATES: dict[str, Customary] = {
    "lora": Customary(2e-4, 5e-5, 5e-4, N_("QLoRA (arXiv 2305.14314): 2e-4 up to 13B parameters")),
    "dora": Customary(2e-4, 5e-5, 5e-4, N_("DoRA (arXiv 2402.09353): LoRA's rates")),
    "rslora": Customary(5e-5, 1e-5, 2e-4, "rsLoRA (arXiv 2312.03732)"),
    "full": Customary(2e-5, 5e-6, 5e-5, N_("Stanford Alpaca: 2e-5; BERT (arXiv 1810.04805): 2e-5 to 5e-5")),
    "freeze": Customary(5e-5, 1e-5, 1e-4, N_("between full fine-tuning and LoRA: fewer weights move")),
    "loha": Customary(
        1e-4, 5e-5, 1e-3, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-4")
    ),
    "vera": Customary(
        1e-3, 3e-4, 1e-2, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-3")
    ),
    "ia3": Customary(3e-3, 5e-4, 1e-2, "IA3 (arXiv 2205.05638): 3e-3"),
    "prompt_tuning": Customary(
        1e-3,
        3e-4,
        3e-2,
        N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-3 from words of the vocabulary"),
    ),
    "prefix_tuning": Customary(
        5e-3,
        1e-3,
        1e-2,
        N_(
            "PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): "
            "5e-3 from the keys and values of words"
        ),
    ),
    "p_tuning": Customary(
        1e-3, 1e-4, 5e-3, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 5e-4 to 1e-3")
    ),
}
# Encoders with a new head; methods that are left out have the rates above
ENCODER_RATES: dict[str, Customary] = {
    "full": Customary(
        2e-5,
        1e-5,
        5e-5,
        N_("BERT (arXiv 1810.04805), appendix A.3: 2e-5 to 5e-5; RoBERTa (arXiv 1907.11692): 1e-5 to 3e-5"),
    ),
    "lora": Customary(
        4e-4,
        1e-4,
        1e-3,
        N_("LoRA (arXiv 2106.09685), RoBERTa base: 4e-4 to 5e-4; PEFT's guides: 3e-4 (texts), 1e-3 (words)"),
    ),
    "dora": Customary(
        4e-4,
        1e-4,
        1e-3,
        N_("LoRA's rates: LoRA (arXiv 2106.09685), RoBERTa base: 4e-4 to 5e-4; PEFT's guides: 3e-4 to 1e-3"),
    ),
    "vera": Customary(4e-3, 1e-3, 2e-2, N_("VeRA (arXiv 2310.11454), RoBERTa base: 4e-3 to 1e-2")),
    "ia3": Customary(
        3e-3, 3e-4, 1e-2, N_("IA3 (arXiv 2205.05638): 3e-3; PEFT's example with RoBERTa large on MRPC: 3e-4")
    ),
    "prompt_tuning": Customary(1e-3, 3e-4, 3e-2, N_("PEFT's example with RoBERTa large on MRPC: 1e-3")),
    "p_tuning": Customary(1e-3, 1e-4, 5e-3, N_("PEFT's example with RoBERTa large on MRPC: 1e-3")),
    "prefix_tuning": Customary(1e-2, 1e-3, 3e-2, N_("PEFT's example with RoBERTa large on MRPC: 1e-2")),
}
SMALL_ENCODER = 40e6  # parameters, between ELECTRA's small and base model
SMALL_ENCODER_RATE = Customary(
    1e-4,
    3e-5,
    3e-4,
    N_("ELECTRA (arXiv 2003.10555), by size: 3e-4 for the small model, 1e-4 for the base one"),
)
PREFERENCE_RATES: dict[str, Customary] = {
    "full": Customary(5e-7, 1e-7, 5e-6, N_("DPO (arXiv 2305.18290): 5e-7 to 1e-6")),
    "lora": Customary(5e-6, 1e-6, 5e-5, N_("ten times full fine-tuning's rate (LoRA Without Regret, 2025)")),
}

# GPT-3 (arXiv 2005.14165), table 2.1: parameters and peak learning rate
GPT3_RATES = (
    (125e6, 6.0e-4),
    (350e6, 3.0e-4),
    (760e6, 2.5e-4),
    (1.3e9, 2.0e-4),
    (2.7e9, 1.6e-4),
    (6.7e9, 1.2e-4),
    (13e9, 1.0e-4),
    (175e9, 0.6e-4),
)
SMALL_SCRATCH_RATE = 1e-3  # nanoGPT's rate for models of about ten million parameters


def customary(config: RunConfig, parameters: int | None = None, encoder: bool = False) -> Customary:
    """The usual rate for this task, method and, from scratch, size.

    Args:
        encoder: The model reads both ways, so a task that decides gives it a new head.
    """
    kind, task = config.method.kind, config.task_kind
    random = config.model.architecture is not None or is_tiny(config.model.name)
    if random and (task.plain_text or task.decides):
        return scratch(parameters)
    if task.decides and encoder:
        return _encoder_rate(config, parameters)
    if task.preference:
        return PREFERENCE_RATES["full" if kind in ("full", "freeze") else "lora"]
    found = METHOD_RATES[kind]
    if kind == "prefix_tuning" and config.method.encoder_size is not None:
        return Customary(
            5e-5, 1e-5, 1e-3, N_("prefix tuning (arXiv 2101.00190): 5e-5 to 8e-5 through a network")
        )
    return _stabilised(config, METHOD_RATES["lora"], found) if kind == "rslora" else found


def _stabilised(config: RunConfig, lora: Customary, found: Customary) -> Customary:
    """Rank-stabilised LoRA's rate, from LoRA's and the rank."""
    rate = lora.rate / math.sqrt(config.method.rank)
    source = N_(
        "rsLoRA (arXiv 2312.03732): LoRA's {rate:g} / sqrt(rank), as the update is larger", rate=lora.rate
    )
    return Customary(float(f"{rate:.2g}"), found.low, found.high, source)


def _encoder_rate(config: RunConfig, parameters: int | None) -> Customary:
    """The usual rate for an encoder with a new head."""
    kind = config.method.kind
    if kind == "rslora":
        return _stabilised(config, ENCODER_RATES["lora"], METHOD_RATES[kind])
    if kind == "full" and parameters is not None and parameters < SMALL_ENCODER:
        return SMALL_ENCODER_RATE
    return ENCODER_RATES.get(kind, METHOD_RATES[kind])


def usual_rate(config: RunConfig, facts: ModelFacts | None) -> Customary:
    """`customary` for a model, as far as it is known."""
    return customary(config, facts.parameters, facts.encoder) if facts else customary(config)


def scratch(parameters: int | None) -> Customary:
    """Peak rate for training from random weights, from GPT-3's table (log-log between its sizes)."""
    source = N_("GPT-3 (arXiv 2005.14165) table 2.1 by size")
    if parameters is None or parameters < 30e6:
        return Customary(SMALL_SCRATCH_RATE, 3e-4, 3e-3, N_("nanoGPT: 1e-3 for small models"))
    sizes = [math.log(size) for size, _unused in GPT3_RATES]
    rates = [math.log(rate) for _unused, rate in GPT3_RATES]
    at = math.log(parameters)
    if at <= sizes[0]:
        rate = GPT3_RATES[0][1]
    elif at >= sizes[-1]:
        rate = GPT3_RATES[-1][1]
    else:
        right = next(index for index, size in enumerate(sizes) if size >= at)
        share = (at - sizes[right - 1]) / (sizes[right] - sizes[right - 1])
        rate = math.exp(rates[right - 1] + share * (rates[right] - rates[right - 1]))
    rate = float(f"{rate:.2g}")
    return Customary(rate, rate / 3, rate * 3, source)


# Pretraining: (part of a model's name or type, base rate, tokens in a batch, source)
PRETRAINED: tuple[tuple[str, float, float, str], ...] = (
    ("mistral", 5e-5, 4e6, N_("Mistral's base rate 5e-5 at 4e6 tokens")),
    ("llama-2", 3e-4, 4e6, N_("Llama 2 (arXiv 2307.09288): 3e-4 at 4e6 tokens")),
)
REFERENCE_BATCH = {"lora": (16, N_("QLoRA's batch of 16")), "full": (128, N_("Alpaca's batch of 128"))}
HIDDEN_EXPONENT = {"llama": 0.781, "qwen": 0.0775}
REGRET = "LoRA Without Regret (Schulman et al., 2025)"


@dataclass(frozen=True)
class Rule:
    """One rule applied: its formula with the inputs filled in, and the rate; None if an input is missing."""

    name: str
    formula: str
    source: str
    inputs: dict[str, float]
    rate: float | None
    missing: str = ""


def square_root_rule(base_rate: float, tokens_per_batch: float, pretraining_batch: float) -> float:
    """`base_rate * sqrt(tokens_per_batch / pretraining_batch)`; both batches in tokens.

    2,000,000 supervised tokens in 350 steps of one epoch, from Mistral's 5e-5 at 4e6 tokens: 1.89e-6.
    """
    if min(base_rate, tokens_per_batch, pretraining_batch) <= 0:
        raise ValueError("rates and batches are above zero")
    return base_rate * math.sqrt(tokens_per_batch / pretraining_batch)


def rules(
    config: RunConfig,
    facts: ModelFacts | None = None,
    data: DataFacts | None = None,
    steps_per_epoch: int | None = None,
) -> list[Rule]:
    """Every rule, the chosen one first. Those that lack an input say which."""
    usual = usual_rate(config, facts)
    chosen = Rule(
        N_("usual for the method"),
        _("{rate:g}, usual from {low:g} to {high:g}", rate=usual.rate, low=usual.low, high=usual.high),
        _(usual.source),
        {"low": usual.low, "high": usual.high},
        usual.rate,
    )
    if config.task_kind.decides:
        return [chosen]  # the other rules are about models that write
    found = [chosen, _square_root(facts, data, config, steps_per_epoch)]
    found += _batch_scaling(config, usual)
    if not config.task_kind.preference and config.model.architecture is None:
        found += _lora_against_full(config, facts)
    return found


def _square_root(
    facts: ModelFacts | None, data: DataFacts | None, config: RunConfig, steps: int | None
) -> Rule:
    name = N_("square root of the batch")
    formula = _("base rate * sqrt(supervised tokens per batch / pretraining batch tokens)")
    known = None
    if facts is not None:
        model = f"{facts.name} {facts.model_type}".lower()
        known = next((row for row in PRETRAINED if row[0] in model), None)
    if known is None:
        return Rule(name, formula, "", {}, None, _("the model's pretraining rate and batch"))
    source = _(known[3])
    if data is None or not data.supervised:
        return Rule(name, formula, source, {}, None, _("the data's supervised tokens"))
    steps = steps or max(1, math.ceil(data.rows / config.training.batch_size))
    batch = data.supervised / steps
    inputs = {"base rate": known[1], "tokens per batch": batch, "pretraining batch": known[2]}
    filled = f"{known[1]:g} * sqrt({batch:,.0f} / {known[2]:,.0f})"
    rate = square_root_rule(known[1], batch, known[2])
    return Rule(name, filled, source, inputs, rate)


def _batch_scaling(config: RunConfig, usual: Customary) -> list[Rule]:
    if _no_rule(config):
        return []
    reference, source = REFERENCE_BATCH["lora" if config.method.kind in RANKED else "full"]
    batch = config.training.batch_size
    inputs = {"rate": usual.rate, "batch": float(batch), "reference batch": float(reference)}
    share = batch / reference
    return [
        Rule(
            N_("linear in the batch"),
            f"{usual.rate:g} * {batch} / {reference}",
            _("Goyal et al. (arXiv 1706.02677), from {source}", source=_(source)),
            inputs,
            usual.rate * share,
        ),
        Rule(
            N_("square root of sequences"),
            f"{usual.rate:g} * sqrt({batch} / {reference})",
            _("Krizhevsky (arXiv 1404.5997), for Adam; from {source}", source=_(source)),
            inputs,
            usual.rate * math.sqrt(share),
        ),
    ]


def _no_rule(config: RunConfig) -> bool:
    """Factors and virtual tokens: nobody measured how their rate depends on batch, width or LoRA's rate."""
    return config.method.kind in ADAPTERS and config.method.kind not in RANKED


def _lora_against_full(config: RunConfig, facts: ModelFacts | None) -> list[Rule]:
    if _no_rule(config):
        return []
    full = METHOD_RATES["full"].rate
    adapter = config.method.kind in RANKED
    factor = 10 if adapter else 1
    found = [
        Rule(
            N_("LoRA against full"),
            f"{full:g} * {factor}",
            _(
                "{paper}: LoRA's best rate is ten times that of full fine-tuning, at any rank",
                paper=REGRET,
            ),
            {"full": full, "factor": float(factor)},
            full * factor,
        )
    ]
    exponent = None
    if facts is not None:
        exponent = next((p for part, p in HIDDEN_EXPONENT.items() if facts.model_type.startswith(part)), None)
    name, formula = N_("width of the model"), "5e-5 * factor * (2000 / hidden) ^ exponent"
    if facts is None or exponent is None:
        found.append(Rule(name, formula, REGRET, {}, None, _("a Llama or Qwen model")))
    else:
        rate = 5e-5 * factor * (2000 / facts.hidden) ** exponent
        filled = f"5e-5 * {factor} * (2000 / {facts.hidden}) ^ {exponent:g}"
        inputs = {"factor": float(factor), "hidden": float(facts.hidden), "exponent": exponent}
        found.append(Rule(name, filled, REGRET, inputs, rate))
    if config.method.kind == "rslora":
        rate = METHOD_RATES["lora"].rate / math.sqrt(config.method.rank)
        filled = f"{METHOD_RATES['lora'].rate:g} / sqrt({config.method.rank})"
        inputs = {"rank": float(config.method.rank)}
        found.append(Rule(N_("rank"), filled, "rsLoRA (arXiv 2312.03732)", inputs, rate))
    return found
