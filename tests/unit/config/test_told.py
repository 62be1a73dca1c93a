"""Each word that a field takes is told of in a sentence."""

from __future__ import annotations

import re

import pytest

from tui_tuner.config.chat_templates import CHAT_TEMPLATES
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.options import list_options
from tui_tuner.config.sections.word_help import WORDS, describe_option_word, explain_word

FREE = {"data.format": {"auto"}, "model.chat_template": {*CHAT_TEMPLATES, "model"}}


@pytest.mark.parametrize("path", [path for path, option in list_options().items() if option.choices])
def test_every_word_has_a_sentence_of_its_own(path: str) -> None:
    option = list_options()[path]
    told = {
        word: describe_option_word(path, word) for word in option.choices if word not in FREE.get(path, ())
    }
    if path == "model.chat_template":
        return
    assert all(told.values()), told
    assert len(set(told.values())) == len(told)
    if bool in option.kinds:
        assert describe_option_word(path, "true") and describe_option_word(path, "false")


def test_what_is_told_is_of_words_that_there_are() -> None:
    texts = {"model.name": {"demo", "tiny"}, "model.tokenizer": {"train"}, "data.path": {"demo"}}
    texts |= {
        "output.name": {"auto"},
        "method.targets": {"all-linear", "experts"},
        "evaluation.best": {"auto"},
    }
    for path, words in WORDS.items():
        option = list_options()[path]
        yes_no = {"true", "false"} if bool in option.kinds else set()
        assert set(words) <= {*option.choices, *yes_no, *texts.get(path, ())}, path
        for sentence in words.values():
            assert sentence.endswith(".") and len(sentence) <= 110, sentence


def test_newer_optimizers_are_explained_with_their_sources() -> None:
    for name in ("lion", "muon", "schedule_free", "galore", "apollo"):
        said = explain_word("training.optimizer", name)
        assert 100 < len(said) < 450 and re.search(r"Source: .* 20\d\d, arXiv \d{4}\.\d{5}\.$", said), said
    assert "pip install 'tui-tuner[optimizers]'" in explain_word("training.optimizer", "schedule_free")


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_explained_with_its_source(name: str) -> None:
    """A paragraph in plain sentences, and the paper it comes from, where the form explains the field."""
    kind = METHODS[name]
    assert 100 < len(kind.explanation) < 400 and kind.explanation.endswith(".")
    assert re.search(r"\b20\d\d, arXiv \d{4}\.\d{5}$", kind.paper)
    assert explain_word("method.kind", name).startswith(kind.explanation)
    assert kind.paper in explain_word("method.kind", name)
    assert explain_word("method.rank", name) == explain_word("method.kind", "lohra") == ""
