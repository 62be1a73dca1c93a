"""Cleaning: each step alone, counted, and written out so that it can be undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tui_tuner.cli.data_commands import app
from tui_tuner.config.schema import CleaningSection, DataSection
from tui_tuner.data.cleaning.cleaner import Cleaner, detect_language
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.markup import convert_html_to_markdown, convert_html_to_text
from tui_tuner.data.preview import inspect_data, read_first_rows
from tui_tuner.data.records import Chat, Message, Origin, Record, Text
from tui_tuner.data.writing import write_cleaned_file, write_converted_file
from tui_tuner.errors import ConfigError, UsageError

HERE = Origin("a.jsonl", 1)


def cleaned(answer: str, **steps: Any) -> tuple[str | None, Ledger]:
    ledger = Ledger()
    record = Chat([Message("user", "What?"), Message("assistant", answer)])
    found = Cleaner(CleaningSection(**steps)).clean_record(record, HERE, ledger)
    if found is None:
        return None, ledger
    assert isinstance(found.record, Chat)
    return found.record.messages[1].content, ledger


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I have no opinion.",
        "Well, as  a language\nmodel I can say little.",
        "I’m sorry, but I can’t help with that.",
        "I cannot assist with this.",
        "作为一个人工智能，我没有感情。",
        "很抱歉，我无法回答这个问题。",
    ],
)
def test_refusals_are_dropped(answer: str) -> None:
    found, ledger = cleaned(answer, refusals=True)
    assert found is None and ledger.list_reasons("dropped")[0].reason == "refusal or model boilerplate"
    assert cleaned(answer)[0] == answer, "only if asked"


@pytest.mark.parametrize(
    "answer",
    [
        "A language model predicts tokens.",
        "He said sorry and left.",
        "抱歉地说，他走了。",
        "We cannot provide more.",
    ],
)
def test_honest_answers_stay(answer: str) -> None:
    assert cleaned(answer, refusals=True)[0] == answer


def test_phrases_of_the_user(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("anywhere: [blue moon]\nbeginning: [no way]\n", encoding="utf-8")
    assert cleaned("Once in a Blue Moon.", refusals=True, phrases=str(own))[0] is None
    assert cleaned("No way!", refusals=True, phrases=str(own))[0] is None
    own.write_text("anywhere: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        cleaned("x", refusals=True, phrases=str(own))
    own.unlink()
    with pytest.raises(ConfigError, match=r"mine\.yaml.*No such file"):
        cleaned("x", refusals=True, phrases=str(own))


def test_html_and_control_characters() -> None:
    page = "<h1>Title</h1><p>One<br/>two &amp; three</p><script>bad()</script><ul><li>a</li><li>b</li></ul>"
    assert convert_html_to_text(page).split("\n") == ["Title", "One", "two & three", "a", "b"]
    assert convert_html_to_markdown(page).startswith("# Title") and "- a" in convert_html_to_markdown(page)
    assert convert_html_to_text("1 < 2 and 3 > 2") == "1 < 2 and 3 > 2"
    found, ledger = cleaned("a<br />b\x1b[31m", html="text", control_characters=True)
    assert found == "a\nb[31m"
    assert {step.reason for step in ledger.list_steps()} == {"HTML to text", "control characters removed"}
    assert cleaned("<br>", html="text")[0] is None, "an answer that is gone is no answer"


def test_lengths_languages_and_personal_data() -> None:
    assert cleaned("ok", min_answer=3)[0] is None and cleaned("okay", min_answer=3)[0] == "okay"
    assert cleaned("x" * 50, max_characters=20)[0] is None
    assert cleaned("x", min_characters=20)[0] is None
    assert cleaned("这款连衣裙很漂亮，适合夏天穿。", languages=["en"])[0] is None
    kept, ledger = cleaned("Write to ann@example.com or call +49 30 1234 5678.", personal_data=True)
    assert kept and {step.reason for step in ledger.list_steps()} == {
        "flagged: e-mail address",
        "flagged: phone number",
    }
    with pytest.raises(ConfigError, match="klingon"):
        cleaned("x", languages=["klingon"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cat sat on the mat and it was happy with that.", "en"),
        ("Der Hund ist nicht im Haus, und die Katze ist auch weg.", "de"),
        ("Le chat est dans la maison et il ne veut pas sortir.", "fr"),
        ("Сегодня хорошая погода", "ru"),
        ("今日はいい天気ですね", "ja"),
        ("今天天气很好", "zh"),
        ("오늘 날씨가 좋네요", "ko"),
        ("42 + 7", ""),
    ],
)
def test_language(text: str, code: str) -> None:
    assert detect_language(text) == code


def test_duplicates() -> None:
    ledger = Ledger()
    cleaner = Cleaner(CleaningSection(exact_duplicates=True, near_duplicates=0.7))
    base = "the quick brown fox jumps over the lazy dog while the sun shines over green hills far away today"
    rows: list[Record] = [Text(base), Text(base), Text(base + " again"), Text("something else entirely " * 4)]
    kept = [cleaner.clean_record(row, HERE, ledger) is not None for row in rows]
    assert kept == [True, False, False, True]
    assert [reason.reason.split()[0] for reason in ledger.list_reasons("deduplicated")] == ["exact", "near"]


ROWS = [
    {"prompt": "a", "response": "A fine answer.", "id": 1},
    {"prompt": "b", "response": "As an AI language model, I cannot.", "id": 2},
    {"prompt": "a", "response": "A fine answer.", "id": 3},
    {"prompt": "c", "response": "bell\x07", "id": 4},
]


def write(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "{broken\n", encoding="utf-8")
    return path


def test_cleaned_file_its_ledger_and_what_was_dropped(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.jsonl"), tmp_path / "out.jsonl"
    data = DataSection(
        path=str(source),
        cleaning=CleaningSection(exact_duplicates=True, refusals=True, control_characters=True),
    )
    ledger = write_cleaned_file(data, str(out))
    assert ledger.read == 5 and ledger.is_consistent
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert kept[0] == ROWS[0], "unchanged rows are written as they were"
    assert kept[1]["messages"][1]["content"] == "bell"
    dropped = [json.loads(line) for line in (tmp_path / "out.jsonl.dropped.jsonl").read_text().splitlines()]
    assert dropped[:2] == ROWS[1:3] and len(dropped) == 3
    book = json.loads((tmp_path / "out.jsonl.ledger.json").read_text())
    assert book == json.loads(json.dumps(ledger.to_json()))
    with pytest.raises(UsageError, match="exists"):
        write_cleaned_file(data, str(out))
    with pytest.raises(UsageError, match="is one of the files that are read"):
        write_cleaned_file(data, str(source), force=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "a.jsonl", "out.jsonl", "out.jsonl.dropped.jsonl", "out.jsonl.ledger.json",
    ]  # fmt: skip


def test_converted_file_is_recognised_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_converted_file(DataSection(path=str(write(tmp_path / "a.jsonl"))), str(out))
    again = inspect_data(DataSection(path=str(out)))
    assert again.detections[0]["format"] == "messages" and again.ledger.read == 4
    assert (
        read_first_rows(DataSection(path=str(out))).rows[0].record["messages"][1]["content"]
        == "A fine answer."
    )


def test_commands(tmp_path: Path, tiny_tokenizer: Any) -> None:
    source = str(write(tmp_path / "a.jsonl"))
    run = CliRunner().invoke
    report = json.loads(run(app, ["inspect", source, "--json"]).stdout)
    ledger = report["ledger"]
    assert report["rows"] == 5 == sum(ledger["outcomes"].values()) and ledger["closes"]
    assert report["detections"][0]["columns"] == {"prompt": "prompt", "response": "response"}
    text = run(app, ["inspect", source]).stdout
    assert "prompt_response" in text and "a.jsonl:5" in text and "\x07" not in text
    text = run(app, ["preview", source, "--rows", "9"]).stdout
    assert "assistant: A fine answer." in text and "\x07" not in text and "broken JSON" in text
    model = tmp_path / "model"
    tiny_tokenizer.save_pretrained(model)
    (model / "config.json").write_text('{"model_type": "llama"}')
    view = json.loads(run(app, ["mask", source, "--model", str(model), "--row", "1", "--json"]).stdout)
    assert (
        "".join(token["text"] for token in view["tokens"] if token["trained"]) == "A fine answer.<|im_end|>"
    )
    assert "".join(token["text"] for token in view["tokens"]) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nA fine answer.<|im_end|>\n"
    )
    shown = run(app, ["mask", source, "--model", str(model), "--row", "1"]).stdout
    assert "‹A fine answer.<|im_end|>›" in shown
    assert "One forward pass, packed" in shown and "Rows 1 to 5: 4 kept, 1 dropped" in shown
    around = view["around"]
    assert around["rows"] == 5 and sum(around["outcomes"].values()) == 5
    assert around["tokens"] >= len(view["tokens"]) and sum(b["rows"] for b in around["histogram"]) == 4
    laid = view["forward_pass"]["lines"][0]
    assert {one["row"] for one in laid} >= {1} and view["forward_pass"]["padding"] == 0
    broken = json.loads(run(app, ["mask", source, "--model", str(model), "--row", "5", "--json"]).stdout)
    assert broken["outcome"] == "dropped" and "broken JSON" in broken["reason"]
    out = str(tmp_path / "clean.jsonl")
    assert (
        json.loads(run(app, ["clean", source, "-o", out, "--json"]).stdout)["ledger"]["outcomes"]["dropped"]
        == 2
    )
    assert isinstance(run(app, ["clean", source, "-o", out]).exception, UsageError)
    assert isinstance(run(app, ["mask", source, "--row", "99", "--model", str(model)]).exception, UsageError)
