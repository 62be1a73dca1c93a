"""Templates that write the date: one moment for a run, today's for everything else."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML
from small_tokenizers import byte_level

from tui_tuner.config.load import build_config
from tui_tuner.data.chat.moment import find_template_dates, get_moment, hold_moment, set_moment
from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.examples.prepare import PreparedRows, prepare_examples
from tui_tuner.tasks import find_task

DATED = "{%- if strftime_now is defined %}{{ strftime_now('%d %b %Y') + '|' }}{%- endif %}" + CHATML.template
THEN = datetime(2024, 2, 29, 12, 30, 1)
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.fixture
def tokenizer() -> Any:
    found = copy.deepcopy(byte_level(CHATML.specials, None, CHATML.eos))
    found.chat_template = DATED
    return found


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2031, 5, 6, 7, 8, 9)


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that templates are given, on another day."""
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)


def test_a_tokenizer_renders_at_its_moment(tokenizer: Any, tomorrow: None) -> None:
    assert render_chat(tokenizer, TURNS).startswith("06 May 2031|")
    set_moment(tokenizer, THEN)
    assert render_chat(tokenizer, TURNS).startswith("29 Feb 2024|")
    other = pickle.loads(pickle.dumps(tokenizer))
    assert render_chat(other, TURNS).startswith("29 Feb 2024|"), "in another process too"
    set_moment(tokenizer, None)
    assert render_chat(tokenizer, TURNS).startswith("06 May 2031|")
    assert tokenizer.apply_chat_template(TURNS, tokenize=False).startswith("06 May 2031|")


def test_nothing_of_it_is_saved(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "before")
    set_moment(tokenizer, THEN)
    render_chat(tokenizer, TURNS)
    tokenizer.save_pretrained(tmp_path / "after")
    names = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "after").iterdir())
    for name in names:
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


def test_one_moment_lasts_as_long_as_asked(tokenizer: Any, tomorrow: None) -> None:
    with hold_moment(tokenizer) as moment:
        assert moment == get_moment(tokenizer) == Tomorrow.now()
    assert get_moment(tokenizer) is None
    set_moment(tokenizer, THEN)
    with hold_moment(tokenizer) as moment:
        assert moment == THEN
    assert get_moment(tokenizer) == THEN


@pytest.mark.parametrize(
    ("template", "dates"),
    [
        (DATED, {"%d %b %Y": "29 Feb 2024"}),
        (CHATML.template, {}),
        ("{{ strftime_now('%Y') }}{{ strftime_now('%d') }}", {"%Y": "2024", "%d": "29"}),
        # what cannot be read off the text may be anything of the moment
        ("{% set f = '%Y' %}{{ strftime_now(f) }}", {"": "2024-02-29T12:30:01"}),
        ("{% set f = strftime_now %}{{ f('%Y') }}", {"": "2024-02-29T12:30:01"}),
        ({"default": CHATML.template, "tool_use": "{{ strftime_now('%H') }}"}, {"%H": "12"}),
        ("{{ 'a text that says strftime_now' }}", {}),
    ],
)
def test_what_a_template_writes_of_the_date(tokenizer: Any, template: Any, dates: dict[str, str]) -> None:
    tokenizer.chat_template = template
    assert find_template_dates(tokenizer, THEN) == dates


def made(tmp_path: Path, tokenizer: Any, task: str = "sft") -> PreparedRows:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": f"question {i}?", "response": f"answer {i}!"} for i in range(6)]
    if task == "pretraining":
        rows = [{"text": f"a text of number {i}, and more of it"} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = build_config({"task": task, "data": {"path": str(path), "workers": 1, "validation": 0}})
    return prepare_examples(config, tokenizer, find_task(task), cache_dir=tmp_path / "cache")


def stores(tmp_path: Path) -> int:
    return len(list((tmp_path / "cache").iterdir()))


def test_a_cached_run_of_another_day_is_not_taken_for_one_of_today(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    set_moment(tokenizer, THEN)
    first = made(tmp_path, tokenizer)
    assert tokenizer.decode(first.train[0].ids).startswith("29 Feb 2024|")
    set_moment(tokenizer, None)
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    second = made(tmp_path, tokenizer)
    assert tokenizer.decode(second.train[0].ids).startswith("06 May 2031|")
    set_moment(tokenizer, THEN.replace(hour=23))
    third = made(tmp_path, tokenizer)
    assert third.train.store.folder == first.train.store.folder, "the same day gives the same rows"
    assert stores(tmp_path) == 2


def test_mask_shows_what_a_run_started_now_would_train(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    from tui_tuner.tasks.preview.mask import mask_row

    made(tmp_path, tokenizer)
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    config = build_config({"data": {"path": str(tmp_path / "a.jsonl"), "workers": 1}})
    shown = "".join(token.text for token in mask_row(config.model, config.data, 1, tokenizer).tokens)
    assert shown.startswith("06 May 2031|")
    assert shown == tokenizer.decode(made(tmp_path, tokenizer).train[0].ids)


def test_templates_without_a_date_keep_their_cache(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML.template
    for moment in (THEN, THEN.replace(year=2028)):
        set_moment(tokenizer, moment)
        made(tmp_path, tokenizer)
    assert stores(tmp_path) == 1


def test_a_task_that_renders_nothing_keeps_its_cache(tmp_path: Path, tokenizer: Any) -> None:
    for moment in (THEN, THEN.replace(year=2028)):
        set_moment(tokenizer, moment)
        made(tmp_path, tokenizer, "pretraining")
    assert stores(tmp_path) == 1
