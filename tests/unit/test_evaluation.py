"""What the metrics count, by hand-counted examples; greedy answers of a real tiny model."""

from pathlib import Path
from typing import Any

import pytest

from tui_tuner.errors import ConfigError
from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.evaluation.metrics import (
    MEASURES,
    ScoredAnswer,
    find_prompt_attributes,
    is_attribute_mentioned,
    score_answers,
    split_metric_tokens,
)
from tui_tuner.evaluation.writing.stop_tokens import find_stop_tokens, find_template_stop_token


def _row(prompt: str = "", reference: str = "", text: str = "", stopped: bool = True) -> ScoredAnswer:
    return ScoredAnswer(prompt, reference, text, stopped)


@pytest.mark.parametrize(
    ("prompt", "pairs"),
    [
        ("类型#上衣*材质#牛仔布", [("类型", "上衣"), ("材质", "牛仔布")]),
        ("<|im_start|>user\n类型#裙*风格#复古<|im_end|>\n", [("类型", "裙"), ("风格", "复古")]),
        ("[INST] 类型#裙*风格#复古 [/INST]", [("类型", "裙"), ("风格", "复古")]),
        ("type: coat | colour: dark red", [("type", "coat"), ("colour", "dark red")]),
        ("user\ntype: coat | colour: red<|eot_id|>", [("type", "coat"), ("colour", "red")]),
        ("Write about C# and *bold* text", []),
        ("Note: one thing", []),
        ("a | b: c", []),
        ("", []),
    ],
)
def test_attributes_of_a_prompt(prompt: str, pairs: list[tuple[str, str]]) -> None:
    assert find_prompt_attributes(prompt) == pairs


@pytest.mark.parametrize(
    ("text", "value", "there"),
    [
        ("A Red coat", "red", True),
        ("I am tired", "red", False),
        ("a dark\n red coat", "dark red", True),
        ("这件牛仔布外套", "牛仔布", True),
        ("这件外套", "牛仔布", False),
        ("ｒｅｄ", "red", True),
        ("size 10", "1", False),
        ("price: $5.", "$5", True),
        ("(a+b)", "a+b", True),
    ],
)
def test_a_value_is_mentioned_as_words_or_in_unspaced_script(text: str, value: str, there: bool) -> None:
    assert is_attribute_mentioned(text, value) is there


def test_coverage_is_over_all_attributes_and_counts_a_value_once() -> None:
    rows = [
        _row("颜色#纯色*图案#纯色*类型#裙", text="纯色的裤子"),  # 1 of 2
        _row("type: coat | colour: red | material: wool", text="A red wool coat."),  # 3 of 3
        _row("no list at all", text="anything"),
    ]
    assert score_answers(["attribute_coverage"], rows) == {"attribute_coverage": 4 / 5}


def test_auto_follows_the_data() -> None:
    listed = _row("type: coat | colour: red", "A red coat.", "A red coat.")
    asked = _row("Who?", "The cat.", "The dog.", stopped=False)
    bare = _row("Who?", "", "The dog.", stopped=False)
    assert score_answers("auto", [listed, asked]) == {"attribute_coverage": 1.0, "stopped": 0.5}
    assert score_answers("auto", [asked]) == {"rougeL": 0.5, "stopped": 0.0}
    assert score_answers("auto", [bare]) == {"stopped": 0.0}
    assert score_answers("auto", []) == {}


def test_what_cannot_be_measured_is_left_out() -> None:
    assert score_answers(list(MEASURES), [_row("Who?", "", "x")]) == {"stopped": 1.0}


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean rouge1"):
        score_answers(["rouge_1"], [])


def test_overlap_metrics_by_hand() -> None:
    row = _row(reference="the cat sat on the mat", text="the mat, the cat!")
    # 4 words against 6. In common as multisets: the, the, cat, mat; as a subsequence no more than "the mat".
    assert score_answers(["token_f1", "rougeL"], [row]) == {"token_f1": 2 * 4 / 10, "rougeL": 2 * 2 / 10}
    assert score_answers(
        "exact_match", [_row(reference="a  b\n", text="a b"), _row(reference="a", text="A")]
    ) == {"exact_match": 0.5}
    assert score_answers(["rougeL", "token_f1"], [_row(reference="a", text="")]) == {
        "rougeL": 0.0,
        "token_f1": 0.0,
    }


def test_chinese_is_compared_character_by_character() -> None:
    assert split_metric_tokens("牛仔 Coat 2x") == ["牛", "仔", "coat", "2x"]
    assert score_answers(["rouge_l"], [_row(reference="白色外套", text="黑色外套")]) == {"rouge_l": 0.75}


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def _prompts(tokenizer: Any, *texts: str) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in texts]


def test_a_batch_answers_like_single_prompts(model: Any, tiny_tokenizer: Any) -> None:
    prompts = _prompts(tiny_tokenizer, "red", "A blue coat that is warm", "Describe the scarf, it is")
    done: list[tuple[int, int]] = []
    together = generate_answers(model, tiny_tokenizer, prompts, 12, lambda *of: done.append(of), batch_size=2)
    alone = [generate_answers(model, tiny_tokenizer, [prompt], 12)[0] for prompt in prompts]
    assert together == alone
    assert done == [(2, 3), (3, 3)]


def test_an_answer_ends_at_any_stop_token(model: Any, tiny_tokenizer: Any) -> None:
    prompt = _prompts(tiny_tokenizer, "A blue coat")
    free = generate_answers(model, tiny_tokenizer, prompt, 8)[0]
    third = free.ids[2]
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [tiny_tokenizer.eos_token_id, third]
    try:
        ended = generate_answers(model, tiny_tokenizer, prompt, 8)[0]
    finally:
        model.generation_config.eos_token_id = before
    assert ended.stopped
    assert ended.ids == free.ids[: free.ids.index(third)]


def test_generation_ignores_sampling_settings_and_keeps_the_mode(model: Any, tiny_tokenizer: Any) -> None:
    prompts = _prompts(tiny_tokenizer, "A blue coat")
    expected = generate_answers(model, tiny_tokenizer, prompts, 8)
    config = model.generation_config
    config.do_sample, config.temperature, config.repetition_penalty = True, 5.0, 3.0
    model.train()
    try:
        assert generate_answers(model, tiny_tokenizer, prompts, 8) == expected
        assert model.training
    finally:
        config.do_sample, config.temperature, config.repetition_penalty = False, 1.0, 1.0
        model.eval()


def test_the_context_is_not_overrun(model: Any, tiny_tokenizer: Any) -> None:
    context = model.config.max_position_embeddings
    full, nearly = [5] * context, [5] * (context - 2)
    found = generate_answers(model, tiny_tokenizer, [full, nearly, []], 8)
    assert found[0].ids == [] and f"fills the context of {context}" in found[0].note
    assert len(found[1].ids) <= 2 and (found[1].stopped or "cut short" in found[1].note)
    assert found[2].note == "the prompt is empty"


_TEMPLATES = {
    "<|im_end|>": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "<|eot_id|>": "{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}",
    "<end_of_turn>": "{% for m in messages %}{{ m.content }}<end_of_turn>\n{% endfor %}",
    "</s>": "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("stop", _TEMPLATES)
def test_the_template_names_the_stop_token(tiny_tokenizer: Any, model: Any, stop: str) -> None:
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [stop]})
    tokenizer.chat_template = _TEMPLATES[stop]
    number = tokenizer.convert_tokens_to_ids(stop)
    assert find_template_stop_token(tokenizer) == number
    assert {number, tokenizer.eos_token_id} <= find_stop_tokens(model, tokenizer)


def test_a_template_without_an_end_or_that_refuses_names_none(tiny_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer)
    for template in (
        "{% for m in messages %}{{ m.content }}\n{% endfor %}",
        "{{ raise_exception('no') }}",
        None,
    ):
        tokenizer.chat_template = template
        assert find_template_stop_token(tokenizer) is None


def test_prompts_and_tokens_are_counted_while_a_batch_is_answered(
    model: Any, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.evaluation import generation

    monkeypatch.setattr(generation, "_WORD_SECONDS", 0.0)  # it speaks at each token
    prompts = _prompts(tiny_tokenizer, "red", "A blue coat that is warm")
    free = generate_answers(model, tiny_tokenizer, prompts, 12)
    early = next(token for token in free[0].ids if token not in free[1].ids)  # ends one answer, not both
    said: list[tuple[int, int, str]] = []
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [tiny_tokenizer.eos_token_id, early]
    try:
        generate_answers(
            model, tiny_tokenizer, prompts, 12, lambda done, total, note="": said.append((done, total, note))
        )
    finally:
        model.generation_config.eos_token_id = before
    assert said[0] == (0, 2, "token 1 of at most 12") or said[0][0] == 1
    assert {done for done, _total, _note in said} >= {1, 2}
    tokens = [int(note.split()[1]) for _done, _total, note in said if note]
    assert tokens == sorted(set(tokens)) and tokens[-1] <= 12
