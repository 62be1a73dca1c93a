"""What cards say of models: read from their files, and known beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_tuner.guiding.models.candidates import list_catalog_models
from tui_tuner.models.cards.model_card import (
    CardWords,
    find_language_codes,
    has_chat_template,
    parse_card_words,
    read_card,
)
from tui_tuner.models.cards.published import KINDS, find_published_card, list_published_names
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\nlanguage: en\n---\n# A", CardWords("mit", ("en",))),
        ("---\r\nlicense: mit\r\nlanguage:\r\n- de\r\n- eng\r\n---\r\n", CardWords("mit", ("de", "en"))),
        ("---\nlicense: other\nlicense_name: my-terms\n---\n", CardWords("my-terms")),
        ("---\nlanguage: [multilingual, zh-Hans, 7, pt_BR]\n---\n", CardWords("", ("zh", "pt"))),
        ("---\nbase_model: a/b\n---\n", CardWords(based_on=("a/b",))),
        ("---\nlicense: [1, 2\n---\n", CardWords()),
        ("---\n- a\n- b\n---\n", CardWords()),
        ("# No head\n---\nlicense: mit\n---\n", CardWords()),
        ("---\nlicense: \x1b[31mmit\n---\n", CardWords()),
        ("", CardWords()),
    ],
)
def test_a_card_is_read(tmp_path: Path, text: str, expected: CardWords):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert read_card(tmp_path) == expected


def test_no_card_says_nothing(tmp_path: Path):
    assert read_card(tmp_path) == CardWords() == parse_card_words(None) == parse_card_words(["a"])
    (tmp_path / "README.md").mkdir()
    assert read_card(tmp_path) == CardWords()
    assert (
        find_language_codes(None)
        == find_language_codes(3)
        == find_language_codes("All languages of Europe")
        == ()
    )


def test_chat_templates_are_found(tmp_path: Path):
    assert has_chat_template(tmp_path) is None and has_chat_template(tmp_path / "none") is None
    settings = tmp_path / "tokenizer_config.json"
    for text, expected in (("{}", False), ('{"chat_template": "{{ x }}"}', True), ("{", None), ("[]", False)):
        settings.write_text(text)
        assert has_chat_template(tmp_path) is expected
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert has_chat_template(tmp_path) is True


def test_what_is_published_has_a_shape_of_its_kind():
    names = list_published_names()
    assert len(names) == len({name.lower() for name in names}) > 90
    for name in names:
        card, shape = find_published_card(name.upper()), find_catalog_config(name)
        assert card is not None and shape is not None, name
        assert card.kind in KINDS and card.licence
        assert (card.kind == "encoder") == read_config_facts(shape, name).encoder, name
        assert len(card.languages) == len(set(card.languages))
        assert all(2 <= len(code) <= 3 and code.isalpha() for code in card.languages), name


def test_every_shape_is_offered_and_good_choices_first():
    found = list_catalog_models()
    assert len({one.candidate_key for one in found}) == len(found)
    names = {one.name for one in found}
    assert {"Qwen/Qwen3-4B", "Qwen/Qwen3-4B-Base", "FacebookAI/xlm-roberta-base"} <= names
    assert all(one.first for one in found if one.name.startswith("Qwen/Qwen3"))
    assert next(one for one in found if one.name == "meta-llama/Llama-3.2-1B").gated
