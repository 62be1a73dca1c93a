"""The front of a server, before a small one that answers as `transformers serve` does."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import openai
import pytest

from tests.core.serving.fake_server import FakeServer, Running
from tui_tuner.errors import UsageError
from tui_tuner.serving.front import Front
from tui_tuner.serving.keys import check_host, is_key_right, is_own_name, read_key
from tui_tuner.serving.listening import take_address
from tui_tuner.serving.stop_cutter import StopCutter
from tui_tuner.serving.translation import Translation
from tui_tuner.serving.upstream import Upstream

KEY = "a-key-of-many-letters"
MESSAGES = [{"role": "user", "content": "secret words"}]


class Setup:
    def __init__(self, tmp_path, words, key="", local=True, generation=None):
        self.lines = []
        self.server = FakeServer(words)
        self.behind = Running(self.server.build_app(), tmp_path / "socket")
        models = {"mine": Translation("mine", "model", generation or {})}
        front = Front(Upstream(str(tmp_path / "socket")), models, key, local, self.lines.append)
        self.before = Running(front.build_app())

    def __enter__(self):
        self.behind.__enter__()
        self.before.__enter__()
        return self

    def __exit__(self, *unused):
        self.before.__exit__()
        self.behind.__exit__()

    def client(self, key="any"):
        return openai.OpenAI(base_url=f"{self.before.url}/v1", api_key=key, max_retries=0)

    def ask(self, path, headers=None, method="GET", body=None):
        request = urllib.request.Request(self.before.url + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def join(stream):
    return "".join(piece.choices[0].delta.content or "" for piece in stream)


def test_models_answers_and_streams_have_the_name_that_clients_know(tmp_path):
    with Setup(tmp_path, ["Hello", " there", "."]) as setup:
        client = setup.client()
        assert [one.id for one in client.models.list()] == ["mine"]
        assert client.models.retrieve("mine").id == "mine"
        whole = client.chat.completions.create(model="mine", messages=MESSAGES)
        assert (whole.model, whole.choices[0].message.content) == ("mine", "Hello there.")
        pieces = list(client.chat.completions.create(model="mine", messages=MESSAGES, stream=True))
        assert join(pieces) == "Hello there." and {piece.model for piece in pieces} == {"mine"}
        assert setup.server.asked[0]["model"] == "model"
        status, body = setup.ask(
            "/v1/chat/completions", None, "POST", json.dumps({"messages": MESSAGES, "stream": True}).encode()
        )
        assert status == 200 and body.endswith(b"data: [DONE]\n\n")
    line = setup.lines[2].format_line()
    assert "POST /v1/chat/completions  200" in line and "3 + 3 tokens" in line and "tokens/s" in line
    assert not any("secret" in one.format_line() for one in setup.lines)


def test_pieces_come_as_they_are_made_and_a_client_that_leaves_ends_the_work(tmp_path):
    with Setup(tmp_path, ["a", "b", "c"]) as setup:
        setup.server.gate.clear()
        stream = setup.client().chat.completions.create(model="mine", messages=MESSAGES, stream=True)
        assert next(iter(stream)).choices[0].delta.content == "a"
        stream.close()
        assert setup.server.given_up.wait(5)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_a_stop_text_that_comes_in_two_pieces(tmp_path, stream):
    with Setup(tmp_path, ["one EN", "D two", " EN", "x"]) as setup:
        given = setup.client().chat.completions.create(
            model="mine", messages=MESSAGES, stop=["END"], stream=stream
        )
        text = join(given) if stream else given.choices[0].message.content
        assert text == "one "
        given = setup.client().chat.completions.create(
            model="mine", messages=MESSAGES, stop=["NOT"], stream=stream
        )
        text = join(given) if stream else given.choices[0].message.content
        assert text == "one END two ENx"


def test_a_wrong_key_is_refused_before_anything_else(tmp_path):
    with Setup(tmp_path, ["x"], key=KEY, local=False) as setup:
        for key in ("wrong", KEY + "x", KEY[:-1]):
            with pytest.raises(openai.AuthenticationError, match="key is missing or wrong"):
                setup.client(key).models.list()
        assert setup.ask("/health")[0] == 401
        assert setup.ask("/v1/models", {"Authorization": f"Basic {KEY}"})[0] == 401
        assert [one.id for one in setup.client(KEY).models.list()] == ["mine"]
    assert not setup.server.asked


def test_a_page_with_a_name_of_its_own_is_refused(tmp_path):
    with Setup(tmp_path, ["x"]) as setup:
        assert setup.ask("/v1/models", {"Host": "evil.example"})[0] == 403
        assert setup.ask("/v1/models", {"Host": "localhost:8000"})[0] == 200
        assert setup.ask("/v1/models", {"Host": "[::1]:8000"})[0] == 200
    assert is_own_name("[::1]") and not is_own_name("localhost.evil.example")


def test_what_would_be_passed_over_is_refused_and_the_rest_is_put_right(tmp_path):
    with Setup(tmp_path, ["x"], generation={"eos_token_id": 3}) as setup:
        client = setup.client()
        for more in ({"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}):
            with pytest.raises(openai.BadRequestError, match="not supported by transformers serve"):
                client.chat.completions.create(model="mine", messages=MESSAGES, **more)
        client.chat.completions.create(model="mine", messages=MESSAGES, n=1, user="me", temperature=0)
        assert "generation_config" not in setup.server.asked[-1] and "user" not in setup.server.asked[-1]
        client.chat.completions.create(model="mine", messages=MESSAGES, temperature=0.7)
        told = json.loads(setup.server.asked[-1]["generation_config"])
        assert told["do_sample"] is True and told["eos_token_id"] == 3


def test_errors_have_the_form_that_clients_read(tmp_path):
    with Setup(tmp_path, ["x"]) as setup:
        client = setup.client()
        with pytest.raises(openai.NotFoundError, match="There is: mine"):
            client.chat.completions.create(model="other", messages=MESSAGES)
        with pytest.raises(openai.UnprocessableEntityError, match="no messages"):
            client.chat.completions.create(model="mine", messages=[])
        assert setup.ask("/v1/chat/completions", None, "POST", b"no json")[0] == 400
        # what loads other models is not for clients
        assert setup.ask("/load_model", None, "POST", b"{}")[0] == 404
        setup.behind.__exit__()
        with pytest.raises(openai.InternalServerError, match="does not answer"):
            client.chat.completions.create(model="mine", messages=MESSAGES)


def test_a_stop_text_is_found_however_an_answer_is_cut():
    text = "aab<|x|>c"
    for cut in range(len(text)):
        cutter = StopCutter(["<|x|>", "zz"])
        shown = cutter.take(text[:cut]) + cutter.take(text[cut:]) + cutter.take_rest()
        assert shown == "aab" and cutter.found


def test_keys_are_read_and_weak_ones_refused(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert read_key("", str(file)) == KEY
    assert read_key("", "") == ""
    for key, name in (
        ("short", ""),
        ("with spaces in it, long", ""),
        ("", str(tmp_path / "none")),
        (KEY, "x"),
    ):
        with pytest.raises(UsageError):
            read_key(key, name)
    assert is_key_right(KEY, f"bearer {KEY}") and not is_key_right(KEY, KEY)
    check_host("127.0.0.1", "")
    check_host("0.0.0.0", KEY)
    with pytest.raises(UsageError, match="needs a key"):
        check_host("0.0.0.0", "")


def test_a_port_in_use_is_refused():
    with take_address("127.0.0.1", 0) as one:
        one.listen()
        port = one.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use"):
            take_address("127.0.0.1", port)
    with pytest.raises(UsageError, match="65535"):
        take_address("127.0.0.1", 70000)
