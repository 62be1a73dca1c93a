"""The demo: its words, its two data sets, its tokenizer, and what the embedded model can and cannot do."""

import hashlib
import json
import re
from itertools import islice
from typing import Any

import pytest

from tui_tuner import demo
from tui_tuner.demo import advertising, corpus
from tui_tuner.demo.demo_words import ATTRIBUTES, VALUES, list_held_out_values, list_trained_values
from tui_tuner.errors import ConfigError, DataError
from tui_tuner.evaluation.metrics import ScoredAnswer, find_prompt_attributes, score_answers
from tui_tuner.models.tokenizer_training import train_tokenizer

MEGABYTE = 10**6


def test_each_value_is_one_word_of_one_key() -> None:
    assert len(set(VALUES)) == len(VALUES)
    assert all(re.fullmatch("[a-z]+", value) for value in VALUES)
    for key in ATTRIBUTES:
        assert set(list_trained_values(key)).isdisjoint(list_held_out_values(key))
        assert (*list_trained_values(key), *list_held_out_values(key)) == ATTRIBUTES[key]
        assert len(list_held_out_values(key)) >= 4


def test_the_sentences_around_the_values_name_none() -> None:
    sentences = [*advertising._OPENINGS, *advertising._CLAUSES.values(), *advertising._CLOSINGS]
    assert set(re.findall("[a-z]+", " ".join(sentences).lower())).isdisjoint(VALUES)


def test_rows_are_the_same_everywhere_and_held_out_values_are_held_out() -> None:
    rows, held_out = list(demo.rows()), list(demo.held_out_rows())
    assert (len(rows), len(held_out)) == (advertising.ROWS, advertising.HELD_OUT_ROWS)
    assert rows == list(demo.rows()) and held_out == list(demo.held_out_rows())
    assert len({row["prompt"] for row in [*rows, *held_out]}) == len(rows) + len(held_out)
    trained = {value for row in rows for _, value in find_prompt_attributes(row["prompt"])}
    asked = {value for row in held_out for _, value in find_prompt_attributes(row["prompt"])}
    assert trained.isdisjoint(asked)
    assert all(4 <= len(find_prompt_attributes(row["prompt"])) <= 6 for row in [*rows, *held_out])
    answers = [
        ScoredAnswer(row["prompt"], row["response"], row["response"], True) for row in [*rows, *held_out]
    ]
    assert score_answers("auto", answers) == {"attribute_coverage": 1.0, "stopped": 1.0}


def test_the_pretraining_text_has_the_words_but_not_the_task() -> None:
    texts = [row["text"] for row in islice(demo.corpus_rows(), 20_000)]
    together = "\n".join(texts)
    assert set(VALUES) <= set(re.findall("[a-z]+", together))
    assert "|" not in together and not re.search(rf"\b({'|'.join(ATTRIBUTES)}): ", together)
    value = f"({'|'.join(VALUES)})"
    written = [re.escape(clause).replace(r"\{\}", value) for clause in advertising._CLAUSES.values()]
    assert not re.search("|".join(written), together)
    openings = [re.escape(opening).replace(r"\{\}", value) + ":" for opening in advertising._OPENINGS]
    assert not re.search("|".join(openings), together)


def test_the_pretraining_text_is_the_one_of_the_embedded_model() -> None:
    digest = hashlib.sha256()
    for row in demo.corpus_rows():
        digest.update(row["text"].encode() + b"\n")
    card = (demo.MODEL_DIR / "README.md").read_text(encoding="utf-8")
    assert digest.hexdigest() in card, "the text changed: pretrain the model anew, and say so in its card"


def test_what_is_asked_later_was_said_before() -> None:
    """In a questions document every answer repeats a fact; so it can only be copied right."""
    for row in islice(demo.corpus_rows(), 3000):
        told, question, asked = row["text"].partition("What is the ")
        if not question or " of the " not in question + asked:
            continue
        for key, value in re.findall(r"\? The (\w+) is (\w+)\.", asked):
            assert re.search(rf"{key}( of the \w+)? is {value}\.", told)


def test_a_new_tokenizer_reads_every_text() -> None:
    texts = [row["text"] for row in islice(demo.corpus_rows(), 2000)]
    tokenizer = train_tokenizer(texts, 2048)
    assert len(tokenizer) <= 2048
    for text in (texts[0], "Grüße, 你好 \x1b[31m\n\ttabs", "  spaces  "):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in ids[1:]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    again = train_tokenizer(iter(texts), 2048)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_a_new_tokenizer_needs_text_and_room_for_bytes() -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(["", ""], 512)
    with pytest.raises(ConfigError, match="too few"):
        train_tokenizer(["text"], 200)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(demo.MODEL_DIR)


@pytest.fixture(scope="module")
def model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(demo.MODEL_DIR, dtype=torch.float32).eval()


def test_the_embedded_model_is_small_and_safe() -> None:
    files = [path for path in demo.MODEL_DIR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10 * MEGABYTE
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md"}
    config = json.loads((demo.MODEL_DIR / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "llama"


def test_its_chat_template_ends_turns_by_the_stop_token(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False)
    assert rendered == "<|begin|><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    assert tokenizer.eos_token == "<|im_end|>"
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert rendered.startswith(prompt)


def test_almost_every_value_is_one_token_and_rows_fit(tokenizer: Any) -> None:
    assert all(len(tokenizer.encode(f" {value}", add_special_tokens=False)) == 1 for value in VALUES)
    rows = [*demo.rows(), *demo.held_out_rows()]
    chats = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
        for row in rows
    ]
    longest = max(
        len(ids) for ids in tokenizer.apply_chat_template(chats, tokenize=True, return_dict=True)["input_ids"]
    )
    assert longest <= 160
    texts = [row["text"] for row in islice(demo.corpus_rows(), 20_000)]
    assert max(map(len, tokenizer(texts)["input_ids"])) < 192


def test_the_embedded_model_copies_what_was_said(model: Any, tokenizer: Any) -> None:
    """On text that it has not read: facts told in one order and asked for in another."""
    import random

    import torch

    chance = random.Random(4711)
    right = asked = 0
    for _ in range(40):
        ids = tokenizer(corpus._write_questions(chance), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            predicted = model(ids).logits[0, :-1].argmax(-1).tolist()
        words = [tokenizer.decode([token]) for token in ids[0].tolist()]
        for place in range(words.index("?") if "?" in words else len(words), len(words) - 1):
            if words[place] == " is" and words[place - 2] == " The":
                asked += 1
                right += predicted[place] == ids[0, place + 1]
    assert asked > 60
    assert right / asked > 0.9


def test_before_fine_tuning_it_does_not_know_the_task(model: Any, tokenizer: Any) -> None:
    from tui_tuner.evaluation.generation import generate_answers

    rows = list(demo.held_out_rows())[:32]
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for row in rows
    ]
    answers = generate_answers(model, tokenizer, prompts, 60, batch_size=32)
    measured = score_answers(
        ["attribute_coverage"],
        [
            ScoredAnswer(row["prompt"], row["response"], answer.text, answer.stopped)
            for row, answer in zip(rows, answers, strict=True)
        ],
    )
    assert measured["attribute_coverage"] < 0.4
