"""Split texts of any script into the words by which answers are compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Scripts written without spaces. (Kana, unified ideographs and their extensions, compatibility ideographs,
# Thai, Lao, Khmer, Burmese.)
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
UNSPACED = f"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff{HAN}"
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
_HAN_CHARACTER = re.compile(f"[{HAN}]")
# Latin letters beyond a to z, with the accents that may follow a letter, and letter-like symbols
_MORE_LATIN = (
    "\u0080-\u036f\u1d00-\u1dbf\u1e00-\u1eff\u2000-\u2bff\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufb06"
)
_LAST_MARK = 0x1CFF  # vowel signs of scripts with spaces end here


@lru_cache(maxsize=1)
def _compile_word_pattern() -> re.Pattern[str]:
    # `\w` leaves out vowel signs, without which words of Hindi or Tamil would fall apart
    marks = "".join(
        chr(code)
        for code in range(0x370, _LAST_MARK)
        if unicodedata.category(chr(code)).startswith("M") and not UNSPACED_CHARACTER.match(chr(code))
    )
    latin = re.compile(f"[{_MORE_LATIN}]")
    marks = "".join(mark for mark in marks if not latin.match(mark))
    return re.compile(f"[a-z0-9]+|[{UNSPACED}]|(?:[^\\W_a-z0-9{_MORE_LATIN}{UNSPACED}]|[{marks}])+")


def split_overlap_words(text: str) -> list[str]:
    """Split a text into lower-case words as rouge-score's tokenizer does, and other scripts as well.

    For Latin text it returns what that tokenizer does: runs of a to z and 0 to 9, which end at letters with
    accents. In other scripts that tokenizer finds nothing; here they are split into words, and those without
    spaces into characters.
    """
    return _compile_word_pattern().findall(text.lower())


def choose_bleu_tokenizer(references: Iterable[str]) -> str:
    """Choose the tokenizer of sacrebleu that suits the script of the references.

    Returns:
        `zh` if most words are Chinese characters, `char` if most are characters of other scripts without
        spaces (Japanese, Thai), else `13a`, sacrebleu's default.
    """
    words = han = unspaced = 0
    for text in references:
        words += len(split_overlap_words(text))
        han += len(_HAN_CHARACTER.findall(text))
        unspaced += len(UNSPACED_CHARACTER.findall(text))
    if not unspaced or 2 * unspaced < words:
        return "13a"
    # Japanese mixes Chinese characters and kana, which `zh` would leave together as long words
    return "zh" if 10 * han >= 9 * unspaced else "char"
