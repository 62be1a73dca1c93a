"""What reaches a terminal from rows of data: nothing that steers it, and nothing that nobody can see."""

import random
import time
import unicodedata

import pytest

from tui_tuner.text import MOST_MARKS, mark_blanks, one_line, sanitize

ORDINARY = [
    "می‌خواهم کتاب‌ها را ببینم",  # Persian, with joiners of no width
    "क्‍ष और र्‍य",
    "ক্‌ষ",
    "👩‍👩‍👧‍👦 👍🏽 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ ©️ 🧑🏿‍🚀 ☎︎",
    "葛󠄀城市、﨑︀",
    "ភាសា​ខ្មែរ",
    "ᠮᠣᠩᠭᠣᠯ᠋",
    "ᄀᅠᆨ",
    "⠁⠀⠃",
    "naïve café, Ångström, ñ, Ελληνικά, עברית, العربية, 中文, 日本語、한국어, ไทย",
    "e\u0301\u0323",
    "« bonjour » 10 km",
]
INVISIBLE = {
    "a\u200bb": "a<U+200B>b",
    "pass\u00adword": "pass<U+00AD>word",
    "\ufefftext": "<U+FEFF>text",
    "a\u200db": "a<U+200D>b",
    "a\u200c\u200cb": "a<U+200C><U+200C>b",
    "x\u2060y\u2061": "x<U+2060>y<U+2061>",
    "\u3164": "<U+3164>",
    "a\uffa0": "a<U+FFA0>",
    "hi\U000e0068\U000e0069": "hi<U+E0068><U+E0069>",
    "a\ufe0f": "a<U+FE0F>",
    "❤️\ufe0f\ufe01": "❤️<U+FE0F><U+FE01>",  # bytes hidden in selectors
    "葛\U000e0100\U000e0101": "葛\U000e0100<U+E0101>",
    "a\u2800b": "a<U+2800>b",
    "\u180e": "<U+180E>",
    "👩\u200d\u200d": "👩<U+200D><U+200D>",
    "م\u200c\u200c": "م\u200c<U+200C>",
    "a\u202eb\u2066": "a\ufffdb\ufffd",
    "\x1b]52;c;eA==\x07": "\u241b]52;c;eA==\u2407",
    "\x9b31m\x90": "\ufffd31m\ufffd",
    "\ud83d": "\ufffd",
    "a\r\nb\rc": "a\nb\u240dc",
}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_as_it_was(text: str) -> None:
    assert sanitize(text) == text
    assert one_line(text) == text


@pytest.mark.parametrize(("text", "shown"), INVISIBLE.items(), ids=ascii)
def test_what_nobody_could_see_is_shown(text: str, shown: str) -> None:
    assert sanitize(text) == shown


def test_blanks_at_which_no_line_breaks_are_marked_in_rows_that_are_judged() -> None:
    assert mark_blanks("10\u00a0km\u202f!\u2007") == "10\u237dkm\u237d!\u237d"
    assert mark_blanks(5) == "5"


def test_a_flood_of_marks_is_counted() -> None:
    flood = "a" + "\u0301" * 5000
    assert sanitize(flood) == "a" + "\u0301" * MOST_MARKS + f"<+{5000 - MOST_MARKS}>"


def test_no_string_gets_an_escape_or_an_invisible_character_past() -> None:
    chance = random.Random(13)
    pools = [
        [chr(code) for code in range(0x100)],
        [
            chr(code)
            for code in (*range(0x2000, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF, 0xAD, 0x3164, 0x200B)
        ],
        ["\x1b]8;;http://x\x1b\\", "\x1b[2J", "\x9b", "\x07", "\r", "\x1bP", "\x00", "\x7f", "\u202e"],
        [
            "👩",
            "\u200d",
            "\ufe0f",
            "🏽",
            "\U0001f3f4",
            "\U000e0067",
            "\U000e007f",
            "\u20e3",
            "1",
            "م",
            "क",
            "\u094d",
        ],
        [chr(chance.randrange(0x110000)) for _unused in range(2000)],
    ]
    for number in range(20_000):
        pool = pools[number % len(pools)]
        text = "".join(chance.choices(pool, k=chance.randrange(12)))
        shown = sanitize(text)
        for character in shown:
            if character < " ":
                assert character in "\n\t", ascii(text)
            elif character > "~":
                kind = unicodedata.category(character)
                assert kind not in ("Cc", "Cs", "Zl", "Zp"), ascii(text)
                assert (
                    kind != "Cf"
                    or character in "\u200b\u200c\u200d"
                    or character >= "\U000e0020"
                    or (
                        "\u0600" <= character <= "\u08e2"
                        or character in "\U000110bd\U000110cd"
                        or "\U00013430" <= character <= "\U0001343f"
                    )
                ), ascii(text)
        shown.encode()
        assert "\n" not in one_line(text)
        assert sanitize(shown) == shown, "shown once, it is the same when it is shown again"


@pytest.mark.parametrize(
    "piece",
    ["\u200b", "\x1b[31m", "👩\u200d", "a\u0301" * 3, "م\u200c", "\U000e0041", "漢", "a\ufe0f", "\ud800"],
)
def test_a_hostile_row_of_100_kb_costs_no_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    sanitize(piece)
    began = time.process_time()
    sanitize(text)
    assert time.process_time() - began < 0.5, "ten times what it may take"
