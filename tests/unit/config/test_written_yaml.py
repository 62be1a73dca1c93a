"""A config written with comments says what it should, and a text of somebody's own keeps its comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tui_tuner.config.applying import is_read_by_task
from tui_tuner.config.load import find_config_problems, load_config
from tui_tuner.config.options import Option, get_config_value, list_options
from tui_tuner.config.presets import list_presets
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_config_path
from tui_tuner.config.writing.commented import write_commented
from tui_tuner.config.writing.flat import are_configs_equal, flatten_config
from tui_tuner.config.writing.patched import (
    add_default_comments,
    patch_config_text,
    read_yaml_values,
    remove_default_comments,
)
from tui_tuner.ui.editing.draft_files import Draft
from tui_tuner.ui.editing.draft_text import (
    read_draft_from_editor,
    write_draft_for_editor,
    write_draft_for_file,
)
from tui_tuner.ui.form_values import drop_ineffective_fields, is_field_effective

ODD = [
    "x",
    "a: b",
    "# no",
    "yes",
    "1e5",
    "- x",
    "a\nb\n  c\n",
    "'q'",
    '"',
    "日本 🦙",
    "{a",
    " x ",
    "null",
    "a\n\nb",
    "a\u2028b",
    "\x85a\x85 b\n",
]
WORDS = st.sampled_from(ODD) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1
)


def values_for(option: Option) -> st.SearchStrategy[Any]:
    """Values of the kinds that a field takes, right or wrong."""
    found: list[st.SearchStrategy[Any]] = [st.sampled_from(option.choices)] if option.choices else []
    if bool in option.kinds:
        found.append(st.booleans())
    if int in option.kinds:
        found.append(st.integers(0, 4096))
    if float in option.kinds:
        found.append(st.floats(0, 1) | st.floats(1, 1e6))
    if str in option.kinds:
        found.append(WORDS)
    if list in option.kinds:
        found.append(st.lists(WORDS, min_size=1, max_size=3))
    if dict in option.kinds:
        found.append(st.dictionaries(st.sampled_from(["prompt", "response"]), WORDS, min_size=1))
    if option.optional:
        found.append(st.none())
    return st.one_of(found) if found else st.just(option.default)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Valid plain values."""
    values: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(sorted(list_options())), unique=True, max_size=12)):
        set_config_path(values, path, draw(values_for(list_options()[path])))
    for path in find_config_problems(
        values
    ):  # what is wrong alone is left out; what contradicts ends this one
        assume(path in list_options())
        section, name = path.rpartition(".")[::2]
        holder: Any = values
        for part in filter(None, section.split(".")):
            holder = holder.get(part, {})
        holder.pop(name, None)
    assume(not find_config_problems(values))
    return values


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs())
def test_what_is_saved_opens_again_to_the_same(values: dict[str, Any]) -> None:
    draft = Draft(values)
    written = write_draft_for_file(draft, Path("any.yaml"))
    opened = RunConfig.model_validate(_nested(read_yaml_values(written.text)))
    assert opened == RunConfig.model_validate(drop_ineffective_fields(values)), written.text
    assert written.text.startswith("# ") and "tui-tuner run any.yaml" in written.text
    for path in written.unread:
        assert not is_field_effective(values, path)
        name = path.rpartition(".")[2]
        assert (f"does not read this: {name}" in written.text) or is_read_by_task(opened.task, path)
        assert (f"# Without effect here: {name}" in written.text) or not is_read_by_task(opened.task, path)

    edited = write_draft_for_editor(draft)
    held = read_yaml_values(edited)
    assert RunConfig.model_validate(_nested(held)) == RunConfig.model_validate(values), edited
    assert are_configs_equal(read_yaml_values(read_draft_from_editor(edited)), held)


def test_a_text_of_several_lines_without_effect_is_one_comment() -> None:
    values = {"model": {"name": "demo", "revision": "a\n\nb"}}
    written = write_draft_for_file(Draft(values), Path("any.yaml"))
    assert written.unread == ("model.revision",)
    assert '# Without effect here: revision: "a\\n\\nb"\n' in written.text


def test_what_other_values_leave_without_effect_is_not_laid_to_the_task() -> None:
    values = {"training": {"epochs": 7.0, "max_steps": 20}, "data": {"problem": "multi"}}
    written = write_draft_for_file(Draft(values), Path("any.yaml"))
    assert set(written.unread) == {"training.epochs", "data.problem"}
    assert "  # Without effect here: epochs: 7.0" in written.text
    assert "  # Task sft does not read this: problem: multi" in written.text


@pytest.mark.parametrize("yaml", ["", "# mine\ntraining: {seed: 7}\n", "# mine\ntraining:\n  seed: 7\n"])
def test_a_run_of_a_tiny_model_takes_the_values_of_the_form(tmp_path: Path, yaml: str) -> None:
    values = {
        "task": "classification",
        "model": {"name": "tiny"},
        "data": {"path": "demo"},
        "training": {"epochs": 3.0, "learning_rate": "auto", "batch_size": 9, "seed": 7},
    }
    file = tmp_path / "own.yaml"
    written = write_draft_for_file(Draft(values, yaml=yaml), file)
    file.write_text(written.text, encoding="utf-8")
    said: list[str] = []
    assert load_config(file, (), said.append) == RunConfig.model_validate(values) and said == []
    assert written.lost == ("{" in yaml)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs(), st.sampled_from([preset.path for preset in list_presets()]))
def test_other_values_go_into_a_text_with_comments(values: dict[str, Any], path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = read_yaml_values(text)
    wanted = {**own, **flatten_config(values)}
    outcome = patch_config_text(text, wanted)
    assert outcome is not None
    held = read_yaml_values(outcome)
    for name, value in wanted.items():
        if name in held:
            assert are_configs_equal({name: held[name]}, {name: value})
        else:
            assert value == list_options()[name].default
    kept = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in outcome.splitlines() if line in kept] == kept
    same = [name for name in own if are_configs_equal({name: own[name]}, {name: wanted[name]})]
    lines = {line for line in text.splitlines() for name in same if f"{name.rpartition('.')[2]}: " in line}
    assert len(set(outcome.splitlines()) & lines) >= len(lines) - (len(own) - len(same))


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_defaults_come_and_go(preset: Any) -> None:
    text = preset.path.read_text(encoding="utf-8")
    full = add_default_comments(text, "sft")
    assert read_yaml_values(full) == read_yaml_values(text)
    assert "#seed:" in full or "seed:" in text
    assert remove_default_comments(full) == text
    assert full.index("#near_duplicates") > full.index("\ndata:")


def test_each_default_is_a_setting_once_its_mark_is_gone() -> None:
    text = add_default_comments(write_commented({}), "classification")
    lines = [
        line for line in text.splitlines() if line.lstrip().startswith("#") and line.lstrip()[1:2] != " "
    ]
    assert len(lines) > 60
    freed = text
    for line in lines:
        freed = freed.replace(f"\n{line}\n", f"\n{line.replace('#', '', 1)}\n")
    config = RunConfig.model_validate(_nested(read_yaml_values(freed)))
    for path, option in list_options().items():
        assert get_config_value(config, path) == get_config_value(RunConfig(), path) or path in (
            "data.path",
        ), path
        assert option.path == path


def test_what_the_task_does_not_read_is_a_comment_and_is_named(tmp_path: Path) -> None:
    values = {
        "task": "classification",
        "data": {"train_on": "everything", "path": "x.jsonl", "max_length": 77},
    }
    written = write_draft_for_file(Draft(values), tmp_path / "a.yaml")
    assert written.unread == ("data.train_on",)
    assert "train_on: everything" in written.text and "data.train_on" not in read_yaml_values(written.text)
    again = write_draft_for_file(
        Draft(values, file=str(tmp_path / "a.yaml"), yaml=written.text), tmp_path / "a.yaml"
    )
    assert again.text == written.text
    assert "data.train_on" in read_yaml_values(
        write_draft_for_editor(Draft(values))
    )  # there, nothing is lost


def test_paths_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, there, elsewhere = tmp_path / "job" / "rows.jsonl", tmp_path / "job", tmp_path / "other"
    elsewhere.mkdir()
    there.mkdir()
    rows.write_text('{"prompt": "a", "response": "b"}\n')
    text = "task: sft # mine\ndata:\n  path: rows.jsonl  # beside\n"
    draft = Draft({"task": "sft", "data": {"path": str(rows)}}, file=str(there / "a.yaml"), yaml=text)
    assert write_draft_for_file(draft, there / "b.yaml").text == text  # there it means the same
    moved = write_draft_for_file(draft, elsewhere / "b.yaml").text
    assert read_yaml_values(moved)["data.path"] == str(rows) and "# beside" in moved and "# mine" in moved
    (elsewhere / "rows.jsonl").write_text("{}\n")  # another file of that name
    assert read_yaml_values(write_draft_for_file(draft, elsewhere / "b.yaml").text)["data.path"] == str(rows)
    monkeypatch.chdir(there)
    typed = Draft({"data": {"path": "rows.jsonl"}})
    assert read_yaml_values(write_draft_for_file(typed, Path("c.yaml")).text)["data.path"] == "rows.jsonl"
    assert read_yaml_values(write_draft_for_file(typed, elsewhere / "c.yaml").text)["data.path"] == str(rows)
    (there / "c.yaml").write_text(write_draft_for_file(typed, Path("c.yaml")).text)
    monkeypatch.chdir(tmp_path)
    assert load_config(there / "c.yaml").data.path == str(rows)


def test_a_section_of_comments_alone_is_one_at_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("task: sft\nmodel:\n  # name: x\ndata:\n  cleaning:\n    # html: text\n")
    assert load_config(file) == RunConfig()


def _nested(held: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in held.items():
        set_config_path(found, path, value)
    return found
