"""Proposals for rows made on the spot: what is set, why, what is of concern, and that the config is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import chat_rows, write_jsonl
from tui_tuner.config.load import build_config, load_config
from tui_tuner.config.writing.flat import flatten_config
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.guiding.proposal import Proposal
from tui_tuner.guiding.proposal_page import convert_proposal, lay_out_page, write_config_text
from tui_tuner.guiding.propose import propose_config


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Tokens go where nobody else's are; no model is near."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)


def values_of(proposal: Proposal) -> Mapping[str, Any]:
    return flatten_config(proposal.values)


def why(proposal: Proposal, field: str) -> str:
    return next(one.why for one in proposal.settings if one.field == field)


def codes(proposal: Proposal) -> set[str]:
    return {one.code for one in proposal.concerns}


def test_each_setting_has_a_reason_with_figures_of_the_rows(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", chat_rows(60))
    made = propose_config(Answers("style", "rows.jsonl", "demo", "cpu"), tmp_path)
    assert made.can_start and build_config(made.values).task == "sft"
    values = values_of(made)
    assert values["data.path"] == str(rows)
    assert values["hardware.devices"] == "cpu"
    assert values["data.validation"] == 0.2 and "12 of 60" in why(made, "data.validation")
    assert values["training.epochs"] == 3 and "48 rows" in why(made, "training.epochs")
    assert values["training.batch_size"] == 2 and "72 steps" in why(made, "training.batch_size")
    longest = int(why(made, "data.max_length").split("longest row has ")[1].split()[0])
    assert values["data.max_length"] - 64 < longest <= values["data.max_length"]
    assert "GiB" in why(made, "method.kind")
    assert made.seconds is not None and made.seconds[0] < made.seconds[1] < made.seconds[2]
    assert made.cost is None
    assert all(one.why for one in made.settings)
    assert "48 rows" in made.summary[0] and "72 steps" in made.summary[1]


def test_a_model_that_cannot_do_the_task_is_not_begun_with(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", chat_rows(60))
    made = propose_config(Answers("style", "rows.jsonl", "tiny-bert", "cpu"), tmp_path)
    assert not made.can_start
    assert [(one.code, one.about) for one in made.concerns if one.stops] == [("writes_and_decides", "model")]
    prefix = {"method.kind": "prefix_tuning"}
    write_jsonl(tmp_path / "classes.jsonl", [{"text": f"text {n}", "label": n % 2} for n in range(60)])
    made = propose_config(Answers("label", "classes.jsonl", "tiny", "cpu", more=prefix), tmp_path)
    assert "no_prefix" in {one.code for one in made.concerns if one.stops}


def test_tokens_are_counted_and_not_lines(tmp_path: Path) -> None:
    long = [{"prompt": f"Say {number}", "response": "word " * 90} for number in range(60)]
    write_jsonl(tmp_path / "long.jsonl", long)
    write_jsonl(tmp_path / "short.jsonl", [{**row, "response": "word"} for row in long])
    lengths = [
        values_of(propose_config(Answers("style", name, "demo"), tmp_path))["data.max_length"]
        for name in ("short.jsonl", "long.jsonl")
    ]
    assert lengths[0] == 64 and lengths[1] >= 128


def test_without_a_task_the_rows_say_it(tmp_path: Path) -> None:
    texts = [
        {"text": f"I {('love', 'hate')[n % 2]} number {n}", "label": ("good", "bad")[n % 2]}
        for n in range(80)
    ]
    write_jsonl(tmp_path / "rows.jsonl", texts)
    made = propose_config(Answers(data="rows.jsonl"), tmp_path)
    values = values_of(made)
    assert (values["task"], values["model.name"]) == ("classification", "tiny")
    assert "toy_model" in codes(made) and made.can_start
    assert values["training.epochs"] == 8  # what a tiny model from random weights needs


def test_with_nothing_at_all_it_shows_how_it_works() -> None:
    made = propose_config(Answers())
    assert values_of(made)["data.path"] == "demo" and made.can_start
    assert "demo_rows" in codes(made)


def test_rows_that_nothing_learns_from_are_told_with_the_way_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(30)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    made = propose_config(Answers(data="rows.jsonl", model="demo"), tmp_path)
    assert not made.can_start
    stop = next(one for one in made.concerns if one.stops)
    assert stop.about == "data" and "rejected" in stop.message
    _words, fix = stop.fixes[0]
    again = propose_config(Answers(data="rows.jsonl", model="demo", more=fix), tmp_path)
    assert again.can_start and values_of(again)["task"] == "sft"


@pytest.mark.parametrize(
    "answers", [Answers(data="none.jsonl"), Answers(data="empty.jsonl"), Answers("label", "chats.jsonl")]
)
def test_data_that_cannot_be_trained_stops(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    write_jsonl(tmp_path / "chats.jsonl", chat_rows(20))
    made = propose_config(answers, tmp_path)
    assert not made.can_start and {one.about for one in made.concerns if one.stops} == {"data"}


def test_a_model_that_is_not_there_stops(tmp_path: Path) -> None:
    made = propose_config(Answers(data="demo", model="./none"), tmp_path)
    assert {one.about for one in made.concerns if one.stops} == {"model"}


def test_a_budget_of_money_is_kept_by_the_run_and_by_its_steps() -> None:
    made = propose_config(Answers(data="demo", machine="T4 at 100/h", budget=0.3))
    values = values_of(made)
    assert values["hardware.price_per_hour"] == 100 and values["hardware.budget"] == 0.3
    assert made.cost is not None and made.cost[1] <= 0.3
    assert "over_budget" in codes(made) and values["training.max_steps"] < 285
    assert "elsewhere" in codes(made)
    assert build_config(made.values)


def test_a_budget_of_time_shortens_and_money_without_a_price_is_told() -> None:
    made = propose_config(Answers(data="demo", machine="cpu", budget="15 s"))
    assert values_of(made)["training.max_steps"] and "hardware.budget" not in values_of(made)
    told = propose_config(Answers(data="demo", machine="cpu", budget=5))
    assert "no_price" in codes(told) and told.can_start and build_config(told.values)


def test_what_was_set_beside_the_questions_stays() -> None:
    more = {"training.epochs": 1, "method.rank": 4, "data.max_length": 96, "hardware.price_per_hour": 2.0}
    made = propose_config(Answers(data="demo", model="demo", judge=("Hi",), more=more))
    values = values_of(made)
    assert {path: values[path] for path in more} == more
    assert why(made, "training.epochs") == "Set by you." == why(made, "method.rank")
    assert values["evaluation.prompts"] == ["Hi"] and made.cost is not None


def test_a_large_model_is_held_in_four_bits_where_the_gpu_is_small(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
        "max_position_embeddings": 8192, "tie_word_embeddings": False, "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_text(json.dumps(config))
    write_jsonl(tmp_path / "rows.jsonl", chat_rows(60))
    small = values_of(propose_config(Answers("style", "rows.jsonl", "big", "RTX 3060 12GB"), tmp_path))
    large = values_of(propose_config(Answers("style", "rows.jsonl", "big", "A100-80"), tmp_path))
    assert small["model.quantization"] == "nf4" and "model.quantization" not in large
    assert small["method.kind"] == large["method.kind"] == "lora"
    never = propose_config(Answers("style", "rows.jsonl", "big", "4 GB"), tmp_path)
    assert "does_not_fit" in codes(never)


def test_an_answer_that_means_nothing_is_an_error() -> None:
    for answers in (
        Answers("labl"),
        Answers(machine="RTX 1"),
        Answers(budget="x"),
        Answers("sft", judge="x"),
    ):
        with pytest.raises(ConfigError):
            propose_config(answers)


def test_the_page_is_safe_and_fits_a_terminal(tmp_path: Path) -> None:
    name = "中文\x1b[31m.jsonl"
    write_jsonl(tmp_path / name, chat_rows(30))
    made = propose_config(Answers("style", name, "demo"), tmp_path)
    from rich.cells import cell_len

    lines = lay_out_page(made)
    assert max(map(cell_len, lines)) <= 80 and not any("\x1b" in line for line in lines)
    assert lines[0] == "The plan" and "Settings" in lines
    assert json.loads(json.dumps(convert_proposal(made)))["can_start"] is True


def test_the_config_holds_its_reasons_and_says_the_same(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", chat_rows(60))
    made = propose_config(Answers("style", "rows.jsonl", "demo", "cpu", judge=("# Who: are you?",)), tmp_path)
    text = write_config_text(made, ("By a test.",))
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_config(path) == build_config(made.values)
    assert flatten_config(yaml.safe_load(text)) == dict(values_of(made))
    assert "# By a test." in text and "# 12 of 60 rows are held out" in text


def test_a_model_that_is_not_here_is_said_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    write_jsonl(tmp_path / "rows.jsonl", chat_rows(60))
    made = propose_config(
        Answers("style", "rows.jsonl", "HuggingFaceTB/SmolLM2-135M-Instruct", "cpu"), tmp_path
    )
    assert "not_here" in codes(made)
    said = next(one.message for one in made.concerns if one.code == "not_here")
    assert "SmolLM2-135M-Instruct is not on this machine" in said
    assert "not_here" not in codes(propose_config(Answers("style", "rows.jsonl", "demo", "cpu"), tmp_path))
