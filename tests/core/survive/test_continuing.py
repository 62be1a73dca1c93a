"""A killed run goes on with the tokens and the config it began with, or says why it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CHATML, MakeConfig, Trained, chat_rows, write_jsonl
from tests.core.survive.test_resume import killed_after, losses, start
from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping.checkpoints import list_checkpoints

Train = Callable[..., Trained]


def killed(config: RunConfig, step: int = 4) -> RunFolder:
    folder = RunStore(config.output.folder).create_run(config)
    killed_after(folder, step)
    assert folder.find_state() == "lost"
    return folder


def refused(train: Train, folder: RunFolder, code: int) -> str:
    """What a resume says that must not go on; nothing of the run may have changed."""
    before = {path.name for path in folder.checkpoints_path.iterdir() if not path.name.startswith(".")}
    run = train(folder.load_config(), resume=folder)
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", code), run.outcome
    assert not run.steps()
    assert before == {path.name for path in folder.checkpoints_path.iterdir()}
    (ended,) = run.sink.of("finished")
    assert ended["hint"]
    return f"{ended['message']} {ended['hint']}"


def edit(folder: RunFolder, changes: dict[str, Any], name: str = "config.yaml") -> Callable[[], None]:
    """Change fields of the run's config by hand; returns what puts them back."""
    path = folder.path / name
    text = path.read_text()
    values = yaml.safe_load(text)
    for field, value in changes.items():
        section, _unused, last = field.partition(".")
        values[section][last] = value
    path.write_text(yaml.safe_dump(values))

    def put_back() -> None:
        path.write_text(text)

    return put_back


# ---- tokens -----------------------------------------------------------------------------------------------


def test_other_tokens_of_the_same_lengths_are_refused_by_name(
    make_config: MakeConfig, train: Train, tmp_path: Path, tiny_model: Path, chats: Path
) -> None:
    template = tmp_path / "own.jinja"
    template.write_text(CHATML)
    held = write_jsonl(tmp_path / "held.jsonl", chat_rows(6))
    held.write_text(held.read_text().replace("Describe", "Tell of"))
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = make_config(
        model__name=str(model),
        model__chat_template=str(template),
        data__validation=str(held),
        training__max_steps=8,
        training__micro_batch=1,
        training__report_every=0.001,
        output__save_every=2,
        evaluation__every=4,
        method__dropout=0.2,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    folder = killed(config)
    tokenizer = model / "tokenizer.json"
    edits = [
        (chats, lambda text: text.replace("Number 7.", "Number 8."), "the training rows"),
        (held, lambda text: text.replace("Number 5.", "Number 6."), "the validation rows"),
        (template, lambda text: text.replace("{% for", "{# a remark #}{% for", 1), "the chat template"),
        (tokenizer, lambda text: _more_tokens(text), "the tokenizer"),
        (tokenizer, lambda text: _other_decoder(text), "the way the tokenizer splits text"),
    ]
    for path, change, named in edits:
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before
        said = refused(train, folder, 3)
        assert named in said and "not those the run began with" in said, said
        assert "start a new run" in said
        path.write_text(before)
    assert start(folder, resume=True).wait(timeout=120) == 0
    assert losses(folder) == whole.steps()


def _more_tokens(text: str) -> str:
    found = json.loads(text)
    number = max(found["model"]["vocab"].values()) + 1
    found["model"]["vocab"]["never seen"] = number
    return json.dumps(found)


def _other_decoder(text: str) -> str:
    found = json.loads(text)
    found["decoder"] = None
    return json.dumps(found)


def test_a_row_that_changes_no_token_changes_no_run(
    make_config: MakeConfig, train: Train, chats: Path
) -> None:
    config = make_config(training__max_steps=6)
    run = train(config)
    shutil.rmtree(run.folder.checkpoints_path / "step-6")
    chats.write_text(chats.read_text().replace('{"messages"', '{"id": 7, "messages"'))
    resumed = train(config, resume=run.folder)
    assert resumed.outcome.status == "completed"
    assert resumed.steps() == {step: run.steps()[step] for step in (4, 5, 6)}


class OtherDay(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime(2031, 5, 6, 7, 8, 9)


def test_a_resume_on_another_day_trains_the_tokens_of_the_day_it_began_on(
    make_config: MakeConfig, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    template = tmp_path / "date.jinja"
    template.write_text("{{ '<|im_start|>system\nToday: ' + strftime_now('%d %b %Y') }}" + CHATML)
    config = make_config(
        model__chat_template=str(template),
        training__max_steps=8,
        training__micro_batch=1,
        training__report_every=0.001,
        output__save_every=2,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    folder = killed(config)
    began = json.loads((folder.path / "moment.json").read_text())["rendered_at"]
    monkeypatch.setattr(chat_template_utils, "datetime", OtherDay)
    shutil.rmtree(tmp_path / "cache")  # so that they are rendered again
    resumed = train(folder.load_config(), resume=folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    assert {**losses(folder), **resumed.steps()} == whole.steps()
    assert json.loads((folder.path / "moment.json").read_text())["rendered_at"] == began
    assert (folder.last_path / "chat_template.jinja").read_text() == template.read_text()
    # and a new run renders today's
    new = train(config)
    assert new.steps() != whole.steps()
    assert json.loads((new.folder.path / "moment.json").read_text())["rendered_at"].startswith("2031-05-06")


def test_a_run_without_a_checkpoint_keeps_its_day(
    make_config: MakeConfig, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    template = tmp_path / "date.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }}" + CHATML)
    config = make_config(model__chat_template=str(template), training__max_steps=3)
    whole = train(config)
    shutil.rmtree(whole.folder.checkpoints_path)
    monkeypatch.setattr(chat_template_utils, "datetime", OtherDay)
    again = train(config, resume=whole.folder)
    assert "no_checkpoint" in again.codes() and again.steps() == whole.steps()


# ---- the config -------------------------------------------------------------------------------------------


def test_an_edited_config_is_taken_or_refused_field_by_field(make_config: MakeConfig, train: Train) -> None:
    config = make_config(
        training__max_steps=8,
        training__micro_batch=2,
        training__schedule="constant",
        training__warmup=0,
        training__report_every=0.001,
        output__save_every=2,
        evaluation__every=None,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    folder = killed(config)
    refusals = {
        "training.learning_rate": (0.005, 0.05),
        "training.batch_size": (8, 4),
        "training.seed": (42, 43),
        "training.schedule": ("constant", "cosine"),
        "training.optimizer": ("adamw", "adafactor"),
        "method.rank": (4, 8),
        "data.max_length": (128, 64),
        "data.seed": (42, 1),
    }
    for field, (old, new) in refusals.items():
        put_back = edit(folder, {field: new})
        said = refused(train, folder, 2)
        assert f"{field} was {old} and cannot become {new}" in said, said
        assert f"Restore {field}: {old}" in said and "tui-tuner run " in said
        put_back()
    put_back = edit(folder, {"training.seed": 7, "method.alpha": 9.0, "output.keep": 5})
    said = refused(train, folder, 2)
    assert "training.seed" in said and "method.alpha" in said and "output.keep" not in said
    put_back()

    longer = train(make_config(**{**_changes(config), "training__max_steps": 10}))
    edit(
        folder,
        {
            "training.max_steps": 10,
            "output.keep": 5,
            "output.save_every": 1,
            "data.workers": 2,
            "method.virtual_tokens": 3,
        },
    )
    at = max(found.step for found in list_checkpoints(folder.checkpoints_path))
    resumed = train(folder.load_config(), resume=folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    said = "\n".join(fields["message"] for fields in resumed.sink.of("log"))
    assert "training.max_steps was 8 and is 10 from here on" in said
    assert "output.keep was 2 and is 5 from here on" in said
    assert "output.save_every was 2 and is 1 from here on" in said
    assert "data.workers was 1 and is 2 from here on" in said
    assert "method.virtual_tokens was 20; changing it to 3 has no effect" in said
    saved = [fields["step"] for fields in resumed.sink.of("checkpoint")]
    assert saved == list(range(at + 1, 11))
    assert max(resumed.steps()) == 10
    assert resumed.steps() == {step: longer.steps()[step] for step in resumed.steps()}
    assert {step: longer.steps()[step] for step in range(1, 9)} == whole.steps()
    # what was said once is the run's config now
    shutil.rmtree(folder.checkpoints_path / "step-10")
    again = train(folder.load_config(), resume=folder)
    assert again.outcome.status == "completed"
    assert "from here on" not in "\n".join(fields["message"] for fields in again.sink.of("log"))


def _changes(config: RunConfig) -> dict[str, Any]:
    training = config.training
    return {
        "training__micro_batch": training.micro_batch,
        "training__schedule": training.schedule,
        "training__warmup": training.warmup,
        "training__report_every": training.report_every,
        "evaluation__every": None,
    }


def test_the_command_line_says_what_became_of_each_field(
    make_config: MakeConfig, train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    import subprocess
    import sys

    config = make_config(training__max_steps=4, output__save_every=2, output__name="named")
    run = train(config)
    shutil.rmtree(run.folder.checkpoints_path / "step-4")
    main = [sys.executable, "-c", "from tui_tuner.cli import main; main()", "resume", str(run.folder.path)]
    put_back = edit(run.folder, {"method.rank": 2})
    for more in (["--no-tui"], ["--json"]):
        done = subprocess.run([*main, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "method.rank was 4 and cannot become 2" in done.stdout
        assert "output.name=auto" in done.stdout
    put_back()
    edit(run.folder, {"output.keep": 7})
    done = subprocess.run([*main, "--no-tui"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "output.keep was 2 and is 7 from here on" in done.stdout


def test_without_a_checkpoint_everything_is_taken_and_said(make_config: MakeConfig, train: Train) -> None:
    config = make_config(training__max_steps=3)
    run = train(config)
    shutil.rmtree(run.folder.checkpoints_path)
    edit(run.folder, {"method.rank": 2})
    again = train(run.folder.load_config(), resume=run.folder)
    assert again.outcome.status == "completed" and sorted(again.steps()) == [1, 2, 3]
    said = [fields["message"] for fields in again.sink.of("log")]
    assert "method.rank was 4 and is 2 from here on: the run starts at the beginning." in said


@pytest.mark.parametrize("harm", ["damaged", "edited", "gone"])
def test_the_copy_without_auto_is_not_what_counts(make_config: MakeConfig, train: Train, harm: str) -> None:
    config = make_config(training__learning_rate="auto", training__max_steps=4, output__save_every=2)
    run = train(config)
    shutil.rmtree(run.folder.checkpoints_path / "step-4")
    copy = run.folder.path / "config.resolved.yaml"
    text = copy.read_text()
    if harm == "damaged":
        copy.write_text("model: [")
    elif harm == "edited":
        edit(run.folder, {"training.learning_rate": 0.5}, copy.name)
    else:
        copy.unlink()
    again = train(run.folder.load_config(), resume=run.folder)
    assert again.outcome.status == "completed"
    assert again.steps() == {step: run.steps()[step] for step in (3, 4)}
    assert ("config_copy" in again.codes()) == (harm != "gone")
    assert all(fields["hint"] for fields in again.sink.of("warning") if fields["code"] == "config_copy")
    assert copy.read_text() == text


def test_an_older_run_whose_copy_is_damaged_gets_a_hint(make_config: MakeConfig, train: Train) -> None:
    config = make_config(training__max_steps=4, output__save_every=2)
    run = train(config)
    shutil.rmtree(run.folder.checkpoints_path / "step-4")
    _as_of_old(run.folder, 2)
    (run.folder.path / "config.resolved.yaml").write_text("model: [")
    said = refused(train, run.folder, 2)
    assert "config.resolved.yaml" in said and "delete it" in said
    (run.folder.path / "config.resolved.yaml").unlink()
    assert train(config, resume=run.folder).outcome.status == "completed"


def _as_of_old(folder: RunFolder, step: int) -> None:
    """Leave out of a checkpoint what version 0.1 did not write."""
    import hashlib

    path = folder.checkpoints_path / f"step-{step}"
    state = json.loads((path / "run_state.json").read_text())
    for name in ("identity", "moment", "asked", "config"):
        del state[name]
    (path / "run_state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "files.json").read_text())
    data = (path / "run_state.json").read_bytes()
    manifest["files"]["run_state.json"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (path / "files.json").write_text(json.dumps(manifest))
