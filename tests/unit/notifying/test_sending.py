"""Messages over a real connection: what is sent, tried again, followed and refused."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.notifying.listener import listening
from tui_tuner.notifying import sending
from tui_tuner.notifying.notifier import Notifier
from tui_tuner.notifying.run_messages import Message, NotSent
from tui_tuner.notifying.sending import send_message
from tui_tuner.runs.events import Evaluation, EventBody, Finished, RunDuration, RunStarted, Verdict, Warned

FIELDS = {"run": "größe", "status": "completed"}
DONE = Message("größe is complete", "40 steps.\nloss 1.5, 3 s", False, FIELDS)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or token of this machine, and no long waits between attempts."""
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("NTFY"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sending, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(sending, "SECONDS", 0.3)


def test_a_webhook_gets_json_that_chats_and_programs_read() -> None:
    with listening() as server:
        send_message(f"{server.address}/hook?key=1", DONE)
        (said,) = server.said("/hook?key=1")
        headers = server.came[0][1]
    assert headers["Content-Type"] == "application/json"
    assert said["text"] == said["content"] == DONE.full_text and said["title"] == DONE.title
    assert (said["run"], said["status"]) == ("größe", "completed")


def test_a_topic_of_a_server_gets_text_and_only_its_own_server_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from email.header import decode_header, make_header

    with listening() as server:
        monkeypatch.setenv("NTFY_TOKEN", "tk_0123456789")
        monkeypatch.setenv("NTFY_SERVER", server.address)
        send_message("ntfy:my-runs", DONE)
        send_message(f"ntfy:{server.address.replace('://', '://me:pass%20word@')}/other", DONE)
    (path, headers, body), (other, theirs, _body) = server.came
    assert (path, body.decode()) == ("/my-runs", DONE.text)
    assert str(make_header(decode_header(headers["Title"]))) == DONE.title
    assert headers["Authorization"] == "Bearer tk_0123456789"
    assert other == "/other" and "Authorization" in theirs
    assert not sending._may_have_token("https://elsewhere.example/x", "https://ntfy.sh")
    assert sending._may_have_token("https://ntfy.sh/x", "https://ntfy.sh")


def test_an_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as server:
        monkeypatch.setenv("HOOK", f"{server.address}/from-the-environment\n")
        send_message("${HOOK}", DONE)
        assert server.came[0][0] == "/from-the-environment"
        monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
        with pytest.raises(NotSent, match="belongs to another service"):
            send_message(f"{server.address}/${{HF_TOKEN}}", DONE)
        with pytest.raises(NotSent, match="NOWHERE is not set"):
            send_message("${NOWHERE}", DONE)
        assert len(server.came) == 1


def test_what_may_pass_is_tried_again_and_what_may_not_is_not() -> None:
    answers = {"/busy": [500, 503, 200], "/down": [500], "/gone": [404]}
    with listening(answers) as server:
        send_message(f"{server.address}/busy", DONE)
        with pytest.raises(NotSent, match="status 500"):
            send_message(f"{server.address}/down", DONE)
        with pytest.raises(NotSent, match="status 404"):
            send_message(f"{server.address}/gone", DONE)
        paths = [path for path, _headers, _body in server.came]
    assert [paths.count(path) for path in ("/busy", "/down", "/gone")] == [3, 3, 1]


def test_redirects_carry_the_message_and_never_leave_for_another_scheme(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NTFY_TOKEN", "tk_0123456789")
    with listening() as other, listening() as server:
        server.answers = {
            "/moved": ["/there"],
            "/away": [f"{other.address}/there"],
            "/file": ["file:///etc/passwd"],
            "/ftp": ["ftp://127.0.0.1/x"],
            "/round": ["/round"],
        }
        send_message(f"{server.address}/moved", DONE)
        assert server.said("/there")[0]["run"] == "größe"
        send_message(f"ntfy:{server.address}/away", DONE)
        assert other.came[0][2].decode() == DONE.text and "Authorization" not in other.came[0][1]
        for path in ("file", "ftp"):
            with pytest.raises(NotSent, match="not followed"):
                send_message(f"{server.address}/{path}", DONE)
        with pytest.raises(NotSent, match="not followed"):
            send_message(f"{server.address}/round", DONE)
    assert len(server.came) < 30


def test_nobody_there_and_a_server_that_hangs_are_told_without_the_address() -> None:
    with listening({"/s3cret-hang": ["hang"]}) as server:
        with pytest.raises(NotSent, match="does not answer") as caught:
            send_message(f"{server.address}/s3cret-hang", DONE)
        assert "s3cret" not in str(caught.value) and len(server.came) == 3
    with pytest.raises(NotSent, match="cannot be reached"):
        send_message(f"{server.address}/s3cret", DONE)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        send_message("http://hook.invalid/there", DONE)
    assert proxy.came[0][0] == "http://hook.invalid/there"


def test_a_desktop_shows_what_its_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "darwin":
        pytest.skip("another command there")
    command, shown = tmp_path / "notify-send", tmp_path / "shown"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {shown}\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("tui_tuner.notifying.desktop.SECONDS", 5.0)
    send_message("desktop", Message("--icon=x", "<b>bold</b>", bad=True))
    lines = shown.read_text().splitlines()
    assert lines[-3:] == ["--", "--icon=x", "&lt;b&gt;bold&lt;/b&gt;"] and "--urgency=critical" in lines
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    shown.unlink()
    send_message("desktop", DONE)  # whoever has the terminal does it
    assert not shown.exists()


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.bodies: list[EventBody] = []

    def emit(self, body: EventBody) -> None:
        self.bodies.append(body)


def test_a_run_tells_its_end_with_verdict_metric_time_and_cost() -> None:
    with listening() as server:
        notifier = Notifier(Kept(), "night", [f"{server.address}/hook", "bell"])
        for body in (
            RunStarted({"evaluation": {"best": "loss"}}),
            Evaluation(40, "validation", {"loss": 1.25}),
            RunDuration(60, 60, 60, spent=125.0, cost=0.5, cost_spent=0.42),
            Verdict(40, "memorised", final=True),
            Finished("completed", 0, "40 steps, best loss 1.25 at step 40."),
        ):
            notifier.emit(body)
        notifier.wait_for_pending()
        (said,) = server.said("/hook")
    assert (said["status"], said["verdict"], said["metric"], said["value"]) == (
        "completed",
        "memorised",
        "loss",
        1.25,
    )
    assert (said["seconds"], said["cost"], said["exit_code"]) == (125.0, 0.42, 0)
    for words in ("Memorised", "best loss 1.25", "2 min 05 s", "0.42"):
        assert words in said["text"], said["text"]


def test_a_failure_says_what_to_do_and_an_idle_gpu_is_told_of_at_once() -> None:
    with listening() as server:
        notifier = Notifier(Kept(), "night", [f"{server.address}/hook"])
        notifier.emit(Warned("gpu_idle", "The GPU has had nothing to do for 5 min.", "Look at the run."))
        notifier.emit(Warned("stalled", "no progress", ""))
        server.wait(1)
        notifier.emit(Finished("failed", 4, "out of memory", "Lower the batch."))
        notifier.wait_for_pending()
        idle, failed = server.said("/hook")
    assert idle["status"] == "idle" and "5 min" in idle["text"]
    assert failed["status"] == "failed" and failed["hint"] == "Lower the batch."
    assert "Lower the batch." in failed["text"]


def test_a_place_that_hangs_keeps_no_other_waiting_and_is_said_once() -> None:
    journal = Kept()
    with listening({"/s3cret-hang": ["hang"]}) as server:
        entries = [f"{server.address}/s3cret-hang", f"{server.address}/fine"]
        notifier = Notifier(journal, "night", entries)
        before = threading.active_count()
        notifier.emit(Warned("gpu_idle", "idle"))
        notifier.emit(Finished("stopped", 143, "Stopped and saved at step 3."))
        notifier.wait_for_pending(0.2)  # less than the attempts take
        assert [one["status"] for one in server.said("/fine")].count("stopped") == 1
        told = [body for body in journal.bodies if isinstance(body, Warned) and body.code == "notify_failed"]
        assert len(told) == 1 and "127.0.0.1" in told[0].message and "s3cret" not in str(told)
    assert threading.active_count() <= before + 4


def test_without_entries_nothing_is_sent() -> None:
    journal = Kept()
    notifier = Notifier(journal, "night", [])
    notifier.emit(Finished("completed", 0))
    notifier.wait_for_pending()
    assert [type(body) for body in journal.bodies] == [Finished]
