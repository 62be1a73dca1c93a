"""Configs that anybody may have written: one error that names file, line and field."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tui_tuner.config.load import apply_config_sets, build_config, find_field_source, load_config
from tui_tuner.config.options import list_options
from tui_tuner.config.presets import list_presets
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.errors import ConfigError, TunerError, UsageError
from tui_tuner.launch.beforehand import check_beforehand
from tui_tuner.runs.history import summarise_runs
from tui_tuner.runs.store import RunStore

LAUGHS = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 28)
)
ODD = {
    "aliases that grow": (LAUGHS, 13, "more than 50,000 values"),
    "an anchor in itself": ("data:\n  path: &a [*a]\n", 2, "is inside the value"),
    "a tag that does not fit": ("task: sft\ntraining:\n  seed: !!bool maybe\n", 3, "is not a valid bool"),
    "no such day": ("training:\n  seed: 2026-99-99\n", 2, "is a date"),
    "a date for a name": ("output:\n  name: 2026-01-01\n", 2, "Put it in quotes"),
    "thousands of digits": ("training:\n  seed: " + "9" * 5000, 2, "a number of 5,000 characters"),
    "sexagesimal": ("training:\n  seed: 1" + ":59" * 100_000, 2, "a number of"),
    "hexadecimal nothing": ("training:\n  seed: !!int 0x\n", 2, "is not a valid int"),
    "10^400": ("training:\n  max_steps: 1" + "0" * 400, 2, "at most 1,000,000,000"),
    "infinity": ("training:\n  epochs: .inf\n", 2, "at most 10,000"),
    "a key twice in a list": ("data:\n  path:\n  - {path: a, path: b}\n", 3, "duplicate key"),
    "a list as key": ("training:\n  ? [a, b]\n  : 1\n", 2, "unhashable"),
    "a number as key": ("training:\n  1: 2\n", 2, "unknown key"),
    "two documents": ("task: sft\n---\ntask: sft\n", 2, "several documents"),
    "a tab": ("training:\n\tseed: 1\n", 2, "tab"),
    "a control character": ("task: sft\nmodel:\n  name: a\x01b\n", 3, "U+0001"),
    "nested without end": ("data: " + "[" * 500 + "]" * 500, 1, "levels deep"),
    "a set": ("data:\n  path: !!set {a, b}\n", 2, "is not supported"),
    "old line ends": ("task: sft\rtraining:\r  seed: x\r", 3, "training.seed"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_config_is_one_error_with_its_line_and_field(tmp_path: Path, name: str) -> None:
    text, line, words = ODD[name]
    path = tmp_path / "job.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert caught.value.where == f"{path}:{line}"
    assert caught.value.field or name in ("two documents", "a control character")
    assert len(str(caught.value)) < 2000


def test_a_setting_is_held_to_the_same_bounds() -> None:
    for value in ("!!bool maybe", "2026-99-99", "&a [*a]", "9" * 5000, "[" * 200 + "]" * 200, "\ud800"):
        with pytest.raises(UsageError) as caught:
            apply_config_sets({}, [f"data.columns={value}"])
        assert caught.value.field == "data.columns"


def test_aliases_that_stay_small_are_taken() -> None:
    values, _lines = parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert values == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}
    with pytest.raises(BadYaml):
        parse_yaml("a: &a {x: 1}\na: *a\n")


def test_every_number_has_two_limits() -> None:
    """A number without an upper limit overflows somewhere later: in a counter, a buffer or a file."""
    for path, option in list_options().items():
        if not {int, float} & set(option.kinds):
            continue
        words = " ".join(words for words, _value in option.limits)
        assert ("at least" in words or "above" in words) and ("at most" in words or "below" in words), path
        section, _unused, name = path.rpartition(".")
        for value in (10**40, float("inf"), float("-inf"), float("nan")):
            inner: dict[str, object] = {name: value}
            for part in reversed(section.split(".")):
                inner = {part: inner}
            with pytest.raises(ConfigError):
                build_config(inner)


def test_a_step_of_too_many_tokens_is_told() -> None:
    with pytest.raises(ConfigError, match=r"are too many for one step"):
        build_config({"training": {"batch_size": 1_000_000}, "data": {"max_length": 10_000_000}})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ("data: {path: nowhere.jsonl}", "data.path"),
        ("data: {path: empty.jsonl}", "data.path"),
        ("data: {path: rows.jsonl, columns: {prompt: nothing, response: b}}", "data.columns"),
        ("data: {path: odd.jsonl}", "data.columns"),
        ("data: {path: rows.jsonl, format: turns}", "data.format"),
        ("data: {path: rows.jsonl, encoding: klingon}", "data.encoding"),
        ("data: {path: rows.json, field: absent}", "data.field"),
        ("data: {path: rows.jsonl, validation: nowhere.jsonl}", "data.validation"),
        (
            "data: {path: rows.jsonl, cleaning: {refusals: true, phrases: nowhere.yaml}}",
            "data.cleaning.phrases",
        ),
        ("model: {name: ./nowhere}", "model.name"),
        ("model: {name: ./folder}", "model.name"),
        ("model: {tokenizer: ./folder}", "model.tokenizer"),
        ("model: {chat_template: ./nowhere.jinja}", "model.chat_template"),
        ("model: {chat_template: nobody}", "model.chat_template"),
        ("hardware: {devices: 9000}", "hardware.devices"),
        ("evaluation: {best: beauty}", "evaluation.best"),
        ("evaluation: {metrics: [beauty]}", "evaluation.metrics"),
    ],
)
def test_a_refusal_names_its_field_and_where_it_has_its_value_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: str, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (tmp_path / "rows.json").write_text('{"rows": [{"prompt": "a", "response": "b"}], "more": [{"x": 1}]}')
    (tmp_path / "odd.jsonl").write_text('{"x": 1, "y": 2}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "job.yaml"
    path.write_text(values + "\n")
    with pytest.raises(TunerError) as caught:
        check_beforehand(load_config(path))
    assert caught.value.field == field
    written = field.rpartition(".")[2] in values
    assert find_field_source(field) == (f"{path}:1" if written else "")


def test_what_a_setting_broke_does_not_blame_a_line(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("data:\n  path: demo\n")
    command = [
        sys.executable,
        "-m",
        "tui_tuner",
        "run",
        str(path),
        "--json",
        "--set",
        "data.path=/nowhere.jsonl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    told = json.loads(done.stdout)["error"]
    assert done.returncode == told["code"] == 3
    assert (told["field"], told["place"]) == ("data.path", "--set data.path=/nowhere.jsonl")
    assert "data.path" in done.stderr and "job.yaml" not in done.stderr


def test_odd_run_folders_are_listed_and_hide_no_other(tmp_path: Path) -> None:
    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text("task: sft\n")
        (folder / "events.jsonl").write_text("")
        return folder

    make("good")
    (make("laughs") / "config.yaml").write_text(LAUGHS)
    (make("tag") / "config.yaml").write_text("x: !!bool maybe")
    (make("huge") / "config.yaml").write_bytes(b"x" * 5_000_000)
    for name, file in (("config", "config.yaml"), ("journal", "events.jsonl"), ("log", "run.log")):
        pipe = make(f"{name}-pipe") / file
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    for file in ("manifest.json", "notes.json"):
        os.mkfifo(make(f"pipe-{file}") / file)
    (make("deep") / "manifest.json").write_text("[" * 100_000)
    folder = make("journal-folder")
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    link = make("dangling") / "config.yaml"
    link.unlink()
    link.symlink_to("/nowhere/at/all")
    rows = {row["name"]: row for row in summarise_runs(RunStore(tmp_path))}
    assert set(rows) == {path.name for path in tmp_path.iterdir()}
    assert rows["good"]["task"] == "sft"
    assert "more than 50,000 values" in rows["laughs"]["message"]


VALUES = [
    "",
    "~",
    "[]",
    "{}",
    "[1, [2]]",
    "-1",
    "1e999",
    ".nan",
    "9" * 4400,
    "!!float x",
    "*a",
    "&a [*a]",
    "'",
    "\t",
]
VALUES += [
    "2020-13-45",
    "!x y",
    "? [a]",
    "true",
    "/dev/zero",
    "'a\\0b'",
    '"\\0"',
    '"\\ud800"',
    "x" * 5000,
    "../..",
    "~nobody/x",
]


def test_mutated_configs_are_taken_or_refused_with_a_field(tmp_path: Path) -> None:
    """A small, seeded fuzzer: presets with lines changed, moved, doubled or cut."""
    chance = random.Random(13)
    texts = [preset.path.read_text(encoding="utf-8") for preset in list_presets()]
    path = tmp_path / "job.yaml"
    refused = 0
    for _unused in range(250):
        lines = chance.choice(texts).splitlines()
        for _again in range(chance.randint(1, 3)):
            at = chance.randrange(len(lines))
            what = chance.randrange(5)
            if what == 0 and ":" in lines[at]:
                lines[at] = lines[at].split(":")[0] + ": " + chance.choice(VALUES)
            elif what == 1:
                lines.insert(at, chance.choice(lines))
            elif what == 2:
                lines[at] = " " * chance.randrange(5) + lines[at]
            elif what == 3:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            else:
                lines.insert(at, f"{chance.choice(list(list_options()))}: {chance.choice(VALUES)}")
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            config = load_config(path)
            check_beforehand(config) if config.model.name == "demo" else None
        except TunerError as error:
            refused += 1
            assert error.field or error.where.startswith(str(path)), error
    assert refused > 100


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("data.path", 3),
        ("data.validation", 3),
        ("data.cleaning.phrases", 3),
        ("model.name", 2),
        ("model.chat_template", 2),
    ],
)
def test_a_name_that_the_system_refuses_is_told_with_its_field(
    field: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n' * 30)
    config = tmp_path / "job.yaml"
    config.write_text(f"model: {{name: demo}}\ndata: {{path: {rows}}}\n")
    with pytest.raises(TunerError) as caught:
        made = load_config(config, ["data.cleaning.refusals=true", f"{field}=./{'n' * 300}"])
        check_beforehand(made)
    assert caught.value.field == field and caught.value.exit_code == code


def test_json_tells_what_no_command_had_foreseen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tui_tuner import cli

    def broken(arguments: list[str]) -> int:
        raise ZeroDivisionError("nobody knows why")

    monkeypatch.setattr(cli, "_choose_entry", broken)
    monkeypatch.setattr(sys, "argv", ["tui-tuner", "doctor", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 1 and "bug in tui-tuner" in told.err
    assert json.loads(told.out)["error"]["code"] == 1
