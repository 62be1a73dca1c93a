"""Metrics of generated answers: what is counted, exactly, and which ones a data set can be judged by."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tui_tuner.config.metrics import canonical
from tui_tuner.config.problems import nearest
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line


@dataclass(frozen=True)
class Scored:
    """One generated answer and what it is judged against.

    Args:
        prompt: The prompt as text; the marks of a chat template in it do no harm.
        reference: The answer of the data set; empty where there is none.
        text: The generated answer, without its stop token.
        stopped: Whether the model ended it by a stop token (and not by the length limit).
    """

    prompt: str
    reference: str
    text: str
    stopped: bool


# The two ways of writing an attribute list, each on one line and with two attributes at least: that of
# AdvertiseGen, `key#value*key#value`, and `key: value | key: value`. A key is one word, so that what stands
# before the first stays outside; a value may hold spaces. Of what stands between two bars only the first key
# is tried: where no list follows it, none follows the others, and many colons take no quadratic time.
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
_MARK = re.compile(r"<\|[^|>]*\|>|</?s>|</?[a-z]+_of_turn>|\[/?INST\]")
# Scripts written without spaces: there a value is looked for anywhere, elsewhere as whole words. (Kana,
# unified ideographs and their extensions, compatibility ideographs, Thai, Lao, Khmer, Burmese.)
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")


def attributes(prompt: str) -> list[tuple[str, str]]:
    """The (key, value) pairs of every attribute list in a prompt, in order.

    A list is `key#value*key#value` or `key: value | key: value`, with two pairs at least: a lone `#` or `:`
    (a heading, `C#`, `Note: …`) is none.
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


def mentions(text: str, value: str) -> bool:
    """Whether a text names a value: the same words in the same order, capitals and line breaks aside.

    A value that begins or ends with a letter or digit of a script with spaces must stand there as whole
    words (`red` is not in `tired`); in scripts without spaces it may stand anywhere.
    """
    needle, hay = _plain(value), _plain(text)
    if not needle:
        return False
    before = r"(?<!\w)" if _is_spaced(needle[0]) else ""
    after = r"(?!\w)" if _is_spaced(needle[-1]) else ""
    return re.search(before + re.escape(needle) + after, hay) is not None


def attribute_coverage(rows: Sequence[Scored]) -> float | None:
    """Attributes of the prompts that the answers mention, divided by all attributes of all prompts.

    Each distinct value of a prompt counts once, also if it stands under two keys; keys are not looked for.
    Rows whose prompt has no attribute list are left out. None if no row has one.
    """
    return _coverage((row.prompt, row.text) for row in rows)


def reference_coverage(rows: Sequence[Scored]) -> float | None:
    """`attribute_coverage` of the references: how much of the attributes the data set itself mentions."""
    return _coverage((row.prompt, row.reference) for row in rows if row.reference)


def stopped(rows: Sequence[Scored]) -> float | None:
    """Share of the answers that the model ended itself, by a stop token."""
    return _mean([float(row.stopped) for row in rows])


def exact_match(rows: Sequence[Scored]) -> float | None:
    """Share of the answers equal to the reference, white space aside; rows without a reference left out."""
    return _mean([float(_spaces(row.text) == _spaces(row.reference)) for row in rows if row.reference])


def token_f1(rows: Sequence[Scored]) -> float | None:
    """Mean over rows of F1 between the tokens of answer and reference, as multisets (SQuAD, 1606.05250).

    Tokens as in `tokens`; unlike SQuAD's script, articles are kept. Rows without a reference are left out.
    """
    return _mean([_token_f1(tokens(row.text), tokens(row.reference)) for row in rows if row.reference])


def rouge_l(rows: Sequence[Scored]) -> float | None:
    """Mean over rows of ROUGE-L (Lin 2004): F1 of the longest common subsequence of tokens.

    Tokens as in `tokens`, no stemming, precision and recall weighed alike, the whole answer as one sentence.
    Rows without a reference are left out.
    """
    return _mean([_rouge_l(tokens(row.text), tokens(row.reference)) for row in rows if row.reference])


def tokens(text: str) -> list[str]:
    """Words and numbers, case folded; in scripts without spaces (Chinese, Thai…) single characters."""
    return _TOKEN.findall(_plain(text))


# A measure gives None where the rows carry nothing it could be counted on.
MEASURES: dict[str, Callable[[Sequence[Scored]], float | None]] = {
    "attribute_coverage": attribute_coverage,
    "reference_coverage": reference_coverage,
    "stopped": stopped,
    "exact_match": exact_match,
    "f1": token_f1,
    "rouge_l": rouge_l,
}


def chosen(names: Sequence[str] | str, rows: Sequence[Scored]) -> list[str]:
    """Names of the metrics to measure; `auto` decides by the rows.

    auto: always `stopped`; `attribute_coverage` if at least half of the prompts carry an attribute list;
    else `rouge_l` if at least half of the rows have a reference.

    Raises:
        ConfigError: an unknown metric.
    """
    if names == "auto":
        if 2 * sum(len(attributes(row.prompt)) > 1 for row in rows) >= max(1, len(rows)):
            return ["attribute_coverage", "stopped"]
        if 2 * sum(bool(row.reference.strip()) for row in rows) >= max(1, len(rows)):
            return ["rouge_l", "stopped"]
        return ["stopped"]
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if canonical(name) not in MEASURES:
            raise ConfigError(
                f"{_('unknown metric {name!r}.', name=one_line(name, 60))}{nearest(name, MEASURES)}",
                where="evaluation.metrics",
                hint=_("Known are auto, {measures}.", measures=", ".join(MEASURES)),
            )
    return list(dict.fromkeys(asked))


def score(names: Sequence[str] | str, rows: Sequence[Scored]) -> dict[str, float]:
    """Measure metrics, each from 0 to 1. One that the rows carry nothing for is left out, not set to 0.

    Args:
        names: `auto`, one name, or several names of `MEASURES`.

    Raises:
        ConfigError: an unknown metric.
    """
    measured = {name: MEASURES[canonical(name)](rows) for name in chosen(names, rows)}
    return {name: value for name, value in measured.items() if value is not None}


def _coverage(pairs: Iterable[tuple[str, str]]) -> float | None:
    named = found = 0
    for prompt, text in pairs:
        values = {_plain(value) for _unused, value in attributes(prompt)}
        named += len(values)
        found += sum(mentions(text, value) for value in values)
    return found / named if named else None


def _rouge_l(answer: list[str], reference: list[str]) -> float:
    common = _longest_common_subsequence(answer, reference)
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def _token_f1(answer: list[str], reference: list[str]) -> float:
    common = sum((Counter(answer) & Counter(reference)).values())
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Its length, with a bit for each token of `second` (Hyyrö 2004): a row of the table is one number."""
    places: dict[str, int] = {}
    for place, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << place
    whole = row = (1 << len(second)) - 1
    for token in first:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(second) - row.bit_count()


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _plain(text: str) -> str:
    return _spaces(text).casefold()


def _spaces(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _is_spaced(character: str) -> bool:
    return character.isalnum() and not _UNSPACED_CHARACTER.match(character)
