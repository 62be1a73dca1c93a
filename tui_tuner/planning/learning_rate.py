"""Learning-rate rules side by side, each with its source, inputs and result.

`auto` uses `find_customary_rate`: a value that is usual for the task and method, scaled only by measured
relations. The other rules are shown next to it if their inputs are known.
"""

from __future__ import annotations

import math

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.optimizers import find_optimizer
from tui_tuner.config.kinds.tasks import is_tiny_model
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.methods import find_method
from tui_tuner.methods.numbers.rates import FULL_RATE, Customary, Rule
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts

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


# Full fine-tuning of encoder-decoders, with AdamW
T5_RATE = Customary(
    3e-4,
    1e-4,
    1e-3,
    N_(
        "T5's page in transformers' documentation: 1e-4 to 3e-4 with AdamW; T5 (arXiv 1910.10683): 1e-3 "
        "with Adafactor"
    ),
)
BART_RATE = Customary(3e-5, 1e-5, 5e-5, N_("BART's recipe for summaries in fairseq: 3e-5"))
# Adapters of T5
T5_ADAPTER_RATE = Customary(1e-3, 3e-4, 3e-3, N_("PEFT's example of LoRA with mT0 large: 1e-3"))
# Guessing hidden tokens with a pretrained encoder, all of it trained
MASKED_RATE = Customary(5e-5, 1e-5, 1e-4, N_("transformers' run_mlm.py: 5e-5"))


def find_customary_rate(
    config: RunConfig,
    parameters: int | None = None,
    encoder: bool = False,
    facts: ModelFacts | None = None,
) -> Customary:
    """Return the usual rate for a task, a method, an optimizer and, from scratch, a size.

    Args:
        encoder: The model reads both ways, so a task that decides gives it a new head.
        facts: Of the model, where its architecture has rates of its own.
    """
    usual = _find_special_rate(config, facts) or _find_adamw_rate(config, parameters, encoder)
    return _suit_optimizer(usual, config.training.optimizer)


def _find_special_rate(config: RunConfig, facts: ModelFacts | None) -> Customary | None:
    """Return the rate of an encoder-decoder or of an encoder that guesses; None if others' rates apply."""
    task, method = config.task_kind, config.method
    if config.model.architecture is not None or is_tiny_model(config.model.name):
        return None
    whole = method.has_trait(Trait.WHOLE_MODEL)
    if task.hides:
        return MASKED_RATE if whole else None
    if not task.encoder_decoder or facts is None or facts.source is None:
        return None
    if not facts.family.relative:
        return BART_RATE if whole else None
    return T5_RATE if whole else T5_ADAPTER_RATE if method.has_trait(Trait.RANKED) else None


def _suit_optimizer(usual: Customary, name: str) -> Customary:
    """Return AdamW's usual rate as that of another optimizer."""
    kind = find_optimizer(name)
    if not kind.source:
        return usual
    source = _("{adamw}, with AdamW. {other}", adamw=_(usual.source), other=_(kind.source))
    # The factors are as rough as the range; more digits would suggest otherwise
    rate, low, high = (
        float(f"{value:.2g}")
        for value in (usual.rate * kind.rate, usual.low * kind.low, usual.high * kind.high)
    )
    return Customary(rate, low, high, source)


def _find_adamw_rate(config: RunConfig, parameters: int | None, encoder: bool) -> Customary:
    task = config.task_kind
    # Random weights bear the high rates of pretraining only where the whole model is trained for long: tasks
    # that learn from documents, or small models made for a task
    random = config.model.architecture is not None or is_tiny_model(config.model.name)
    if random and (task.plain_text or task.decides):
        return find_scratch_rate(parameters)
    return find_method(config.method.kind).customary_rate(
        config.method,
        new_head=bool(task.decides and encoder),
        preference=task.preference,
        parameters=parameters,
    )


def find_model_rate(config: RunConfig, facts: ModelFacts | None) -> Customary:
    """Return the customary rate for a model, as far as its facts are known."""
    return (
        find_customary_rate(config, facts.parameters, facts.encoder, facts)
        if facts
        else find_customary_rate(config)
    )


def find_scratch_rate(parameters: int | None) -> Customary:
    """Return the peak rate for random weights, from GPT-3's table (log-log between its sizes)."""
    source = N_("GPT-3 (arXiv 2005.14165) table 2.1 by size")
    # GPT-3's table begins at 125M parameters; far below, extrapolating its slope gives untried rates
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
    # More digits would suggest a precision that an interpolation between eight published models lacks
    rate = float(f"{rate:.2g}")
    return Customary(rate, rate / 3, rate * 3, source)


# Pretraining: (part of a model's name or type, base rate, tokens in a batch, source)
PRETRAINED: tuple[tuple[str, float, float, str], ...] = (
    ("mistral", 5e-5, 4e6, N_("Mistral's base rate 5e-5 at 4e6 tokens")),
    ("llama-2", 3e-4, 4e6, N_("Llama 2 (arXiv 2307.09288): 3e-4 at 4e6 tokens")),
)
HIDDEN_EXPONENT = {"llama": 0.781, "qwen": 0.0775}
REGRET = "LoRA Without Regret (Schulman et al., 2025)"


def apply_square_root_rule(base_rate: float, tokens_per_batch: float, pretraining_batch: float) -> float:
    """Return `base_rate * sqrt(tokens_per_batch / pretraining_batch)`; both batches in tokens.

    2,000,000 supervised tokens in 350 steps of one epoch, from Mistral's 5e-5 at 4e6 tokens: 1.89e-6.
    """
    if min(base_rate, tokens_per_batch, pretraining_batch) <= 0:
        raise ValueError("rates and batches are above zero")
    return base_rate * math.sqrt(tokens_per_batch / pretraining_batch)


def apply_rate_rules(
    config: RunConfig,
    facts: ModelFacts | None = None,
    data: DataFacts | None = None,
    steps_per_epoch: int | None = None,
) -> list[Rule]:
    """Apply every rule, the chosen one first. A rule that lacks an input names it."""
    usual = find_model_rate(config, facts)
    chosen = Rule(
        N_("usual for the method"),
        _("{rate:g}, usual from {low:g} to {high:g}", rate=usual.rate, low=usual.low, high=usual.high),
        _(usual.source),
        {"low": usual.low, "high": usual.high},
        usual.rate,
    )
    # Published rules were fitted to language-model losses; a new head has other gradients
    # the other rules are about models that write, and optimizers that step as AdamW does
    special = _find_special_rate(config, facts) is not None
    if config.task_kind.decides or special or find_optimizer(config.training.optimizer).rate != 1:
        return [chosen]
    found = [chosen, _apply_square_root_rule(facts, data, config, steps_per_epoch)]
    found += _apply_batch_rules(config, usual)
    if not config.task_kind.preference and config.model.architecture is None:
        found += _apply_width_rules(config, facts)
    return found


def _apply_square_root_rule(
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
    # The rule is about the tokens that one optimizer step averages over, so one epoch suffices to know them
    steps = steps or max(1, math.ceil(data.rows / config.training.batch_size))
    batch = data.supervised / steps
    inputs = {"base rate": known[1], "tokens per batch": batch, "pretraining batch": known[2]}
    filled = f"{known[1]:g} * sqrt({batch:,.0f} / {known[2]:,.0f})"
    rate = apply_square_root_rule(known[1], batch, known[2])
    return Rule(name, filled, source, inputs, rate)


def _apply_batch_rules(config: RunConfig, usual: Customary) -> list[Rule]:
    measured = find_method(config.method.kind).rates.batch
    if measured is None:
        return []
    reference, source = measured
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


def _apply_width_rules(config: RunConfig, facts: ModelFacts | None) -> list[Rule]:
    method = find_method(config.method.kind)
    factor, full = method.rates.times_full, FULL_RATE.rate
    # A rule for matrices says nothing about factors or virtual tokens
    if factor is None:
        return []
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
        # Exponents were fitted per family, and differ tenfold: none can be assumed for other families
        exponent = next((p for part, p in HIDDEN_EXPONENT.items() if facts.model_type.startswith(part)), None)
    name, formula = N_("width of the model"), "5e-5 * factor * (2000 / hidden) ^ exponent"
    if facts is None or exponent is None:
        found.append(Rule(name, formula, REGRET, {}, None, _("a Llama or Qwen model")))
    else:
        rate = 5e-5 * factor * (2000 / facts.hidden) ** exponent
        filled = f"5e-5 * {factor} * (2000 / {facts.hidden}) ^ {exponent:g}"
        inputs = {"factor": float(factor), "hidden": float(facts.hidden), "exponent": exponent}
        found.append(Rule(name, filled, REGRET, inputs, rate))
    return found + method.rate_rules(config.method)
