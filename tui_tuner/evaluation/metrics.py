"""Define the metrics of generated answers, and choose those that a data set can be judged by."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from tui_tuner.config.metrics import find_current_metric_name
from tui_tuner.config.problems import suggest_nearest
from tui_tuner.errors import ConfigError
from tui_tuner.evaluation.overlap.corpus_scores import CORPUS_SCORES
from tui_tuner.evaluation.overlap.scripts import UNSPACED, UNSPACED_CHARACTER
from tui_tuner.locales import _
from tui_tuner.text import one_line


@dataclass(frozen=True)
class ScoredAnswer:
    """One generated answer and the data it is judged by.

    Args:
        prompt: The prompt as text; chat-template markers in it are ignored.
        reference: The answer in the data set; empty if there is none.
        text: The generated answer, without its stop token.
        stopped: Whether the model ended it by a stop token (and not by the length limit).
    """

    prompt: str
    reference: str
    text: str
    stopped: bool


# Two notations of an attribute list, on one line and with at least two attributes: that of AdvertiseGen,
# `key#value*key#value`, and `key: value | key: value`. A key is one word, so that text before the first one
# stays outside; a value may contain spaces. Between two bars only the first key is tried: if no list follows
# it, none follows the others, and a text with many colons does not take quadratic time.
_LISTS = (
    (re.compile(r"(?<![\w-])([\w-]++#[^#*\n]+(?:\*[^#*\n]+#[^#*\n]+)+)"), "*", "#"),
    (
        re.compile(
            r"(?:^|(?<=\|))(?>[^|\n]*?(?<![\w-])(?=[\w-]+: [^|\n]))"
            r"([\w-]+: [^|\n]+(?:\| *[\w-]+: [^|\n]+)+)",
            re.MULTILINE,
        ),
        "|",
        ":",
    ),
)
USUAL = ("rougeL",)  # compares answers with references, if a task names no other metrics
_MARK = re.compile(r"<\|[^|>]*\|>|</?s>|</?[a-z]+_of_turn>|\[/?INST\]")
_TOKEN = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")


def find_prompt_attributes(prompt: str) -> list[tuple[str, str]]:
    """Return the (key, value) pairs of all attribute lists in a prompt, in order.

    A list is `key#value*key#value` or `key: value | key: value`, with at least two pairs: a lone `#` or `:`
    (a heading, `C#`, `Note: …`) is not a list.
    """
    found: list[tuple[str, str]] = []
    for part in _MARK.split(prompt):
        for pattern, between, inside in _LISTS:
            for match in pattern.finditer(part):
                pairs = [pair.partition(inside) for pair in match.group(1).split(between)]
                named = [(key.strip(), value.strip()) for key, _unused, value in pairs]
                named = [(key, value) for key, value in named if key and value]
                found.extend(named if len(named) > 1 else [])
    return found


def is_attribute_mentioned(text: str, value: str) -> bool:
    """Return whether a text contains a value: the same words in the same order, ignoring case and line
    breaks.

    A value that begins or ends with a letter or digit of a script with spaces must occur as whole words
    (`red` is not in `tired`); in scripts without spaces it may occur anywhere.
    """
    needle, hay = _fold_text(value), _fold_text(text)
    if not needle:
        return False
    before = r"(?<!\w)" if _is_spaced(needle[0]) else ""
    after = r"(?!\w)" if _is_spaced(needle[-1]) else ""
    return re.search(before + re.escape(needle) + after, hay) is not None


def measure_attribute_coverage(rows: Sequence[ScoredAnswer]) -> float | None:
    """Return the share of all attributes in the prompts that the answers mention.

    Each distinct value of a prompt counts once, even with two keys; keys need not be mentioned. Rows whose
    prompt has no attribute list are left out. None if no row has one.
    """
    return _measure_coverage((row.prompt, row.text) for row in rows)


def measure_reference_coverage(rows: Sequence[ScoredAnswer]) -> float | None:
    """Return `attribute_coverage` of the references: the share that the data set itself mentions."""
    return _measure_coverage((row.prompt, row.reference) for row in rows if row.reference)


def measure_stopped_share(rows: Sequence[ScoredAnswer]) -> float | None:
    """Return the share of the answers that the model ended itself, by a stop token."""
    return _mean_value([float(row.stopped) for row in rows])


def measure_exact_match(rows: Sequence[ScoredAnswer]) -> float | None:
    """Return the share of the answers equal to the reference, ignoring white space; others are left out."""
    return _mean_value(
        [
            float(_normalise_spaces(row.text) == _normalise_spaces(row.reference))
            for row in rows
            if row.reference
        ]
    )


def measure_token_f1(rows: Sequence[ScoredAnswer]) -> float | None:
    """Return the mean F1 between the tokens of answer and reference, as multisets (SQuAD, 1606.05250).

    Tokens as in `split_metric_tokens`; unlike SQuAD's script, articles are kept. Rows without a reference are
    left out.
    """
    return _mean_value(
        [
            _token_f1(split_metric_tokens(row.text), split_metric_tokens(row.reference))
            for row in rows
            if row.reference
        ]
    )


def measure_rouge(name: str, rows: Sequence[ScoredAnswer]) -> float | None:
    """Return the mean F-measure of `rouge1`, `rouge2` or `rougeL` (Lin 2004), as rouge-score computes it.

    Without stemming, the whole answer as one sentence. Rows without a reference are left out.
    """
    from tui_tuner.evaluation.overlap.rouge import measure_ngram_rouge, measure_sequence_rouge

    pairs = _pair_answers(rows)
    if not pairs:
        return None
    return measure_sequence_rouge(pairs) if name == "rougeL" else measure_ngram_rouge(name, pairs)


def measure_corpus(name: str, rows: Sequence[ScoredAnswer]) -> float | None:
    """Return sacrebleu's `bleu` or `chrf` of all rows together, which is no mean of rows.

    Rows without a reference are left out.
    """
    from tui_tuner.evaluation.overlap.corpus_scores import measure_corpus_score

    pairs = _pair_answers(rows)
    return measure_corpus_score(name, pairs) if pairs else None


def split_metric_tokens(text: str) -> list[str]:
    """Split a text into words and numbers, case folded; scripts without spaces into characters."""
    return _TOKEN.findall(_fold_text(text))


# A measure returns None if the rows have nothing to count.
MEASURES: dict[str, Callable[[Sequence[ScoredAnswer]], float | None]] = {
    "attribute_coverage": measure_attribute_coverage,
    "reference_coverage": measure_reference_coverage,
    "stopped": measure_stopped_share,
    "exact_match": measure_exact_match,
    "f1": measure_token_f1,
    **{name: partial(measure_rouge, name) for name in ("rouge1", "rouge2", "rougeL")},
    **{name: partial(measure_corpus, name) for name in CORPUS_SCORES},
}


def choose_metrics(
    names: Sequence[str] | str, rows: Sequence[ScoredAnswer], usual: Sequence[str] = USUAL
) -> list[str]:
    """Return the names of the metrics to measure; `auto` decides by the rows.

    auto: always `stopped`; `attribute_coverage` if at least half of the prompts have an attribute list;
    else the usual ones if at least half of the rows have a reference.

    Args:
        usual: Metrics by which the answers of a task are usually compared with references.

    Raises:
        ConfigError: an unknown metric.
    """
    if names == "auto":
        if 2 * sum(len(find_prompt_attributes(row.prompt)) > 1 for row in rows) >= max(1, len(rows)):
            return ["attribute_coverage", "stopped"]
        if 2 * sum(bool(row.reference.strip()) for row in rows) >= max(1, len(rows)):
            return [*usual, "stopped"]
        return ["stopped"]
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if find_current_metric_name(name) not in MEASURES:
            raise ConfigError(
                f"{_('unknown metric {name!r}.', name=one_line(name, 60))}{suggest_nearest(name, MEASURES)}",
                where="evaluation.metrics",
                hint=_("Known metrics are auto, {measures}.", measures=", ".join(MEASURES)),
            )
    return list(dict.fromkeys(asked))


def score_answers(
    names: Sequence[str] | str, rows: Sequence[ScoredAnswer], usual: Sequence[str] = USUAL
) -> dict[str, float]:
    """Measure metrics, each from 0 to 1. A metric that cannot be measured is left out, not set to 0.

    Args:
        names: `auto`, one name, or several names of `MEASURES`.
        usual: As for `choose_metrics`.

    Raises:
        ConfigError: an unknown metric.
    """
    chosen = choose_metrics(names, rows, usual)
    measured = {name: MEASURES[find_current_metric_name(name)](rows) for name in chosen}
    return {name: value for name, value in measured.items() if value is not None}


def sign_scores(names: Iterable[str], rows: Sequence[ScoredAnswer]) -> dict[str, str]:
    """Return how metrics were computed that are only comparable if computed alike: sacrebleu's signatures."""
    from tui_tuner.evaluation.overlap.corpus_scores import sign_corpus_score

    pairs = _pair_answers(rows)
    return {name: sign_corpus_score(name, pairs) for name in names if name in CORPUS_SCORES and pairs}


def _pair_answers(rows: Sequence[ScoredAnswer]) -> list[tuple[str, str]]:
    return [(row.text, row.reference) for row in rows if row.reference]


def _measure_coverage(pairs: Iterable[tuple[str, str]]) -> float | None:
    named = found = 0
    for prompt, text in pairs:
        values = {_fold_text(value) for _unused, value in find_prompt_attributes(prompt)}
        named += len(values)
        found += sum(is_attribute_mentioned(text, value) for value in values)
    return found / named if named else None


def _token_f1(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def _mean_value(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _fold_text(text: str) -> str:
    return _normalise_spaces(text).casefold()


def _normalise_spaces(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _is_spaced(character: str) -> bool:
    return character.isalnum() and not UNSPACED_CHARACTER.match(character)
