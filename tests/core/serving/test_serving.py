"""`tui-tuner serve` with a real model, in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import openai
import psutil
import pytest
import torch

from tui_tuner.cli import main
from tui_tuner.demo import MODEL_DIR
from tui_tuner.inference.origin import Origin
from tui_tuner.serving.models import ServedModel, name_models, prepare_adapter, prepare_whole
from tui_tuner.serving.recipe import write_recipe

MESSAGES = [{"role": "user", "content": "Write a product text about a red coat."}]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter of the demo's model, with weights that change its answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "coats"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    config = LoraConfig(
        r=4, lora_alpha=1, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def run_serve(environment, *arguments):
    command = [sys.executable, "-P", "-m", "tui_tuner", "serve", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_url(process):
    told = ""
    for line in process.stdout:
        told += line
        found = re.search(r"ready: (http://\S+)/v1", told)
        if found and "Ctrl-C" in told:
            return found[1]
    raise AssertionError(told + process.stderr.read())


def list_children(process):
    return psutil.Process(process.pid).children(recursive=True)


def wait_until_gone(children):
    _gone, alive = psutil.wait_procs(children, timeout=15)
    return not alive


def ask_inside(adapter):
    """The greedy answer of this program."""
    from tui_tuner.inference.answering import answer_with_all_models
    from tui_tuner.inference.loading import ModelKeeper
    from tui_tuner.inference.prompts import encode_chat_prompt
    from tui_tuner.inference.sampling import Sampling

    (loaded,) = ModelKeeper("cpu").load_all([Origin("adapter", str(adapter), str(adapter))])
    ids = encode_chat_prompt(loaded, MESSAGES)
    sampling = Sampling(max_new_tokens=24)
    return answer_with_all_models([loaded], [ids], sampling, lambda *_: None)[0]


def test_an_adapter_is_merged_once_and_answers_as_in_this_program(adapter, environment, monkeypatch):
    process = run_serve(environment, adapter, "--port", 0)
    try:
        url = wait_for_url(process)
        assert url.startswith("http://127.0.0.1:")
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert [one.id for one in client.models.list()] == ["coats"]
        asked = {"model": "coats", "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
        whole = client.chat.completions.create(**asked)
        expected = ask_inside(adapter)
        text = whole.choices[0].message.content
        # a chat shows answers without spaces around them
        assert text.strip() == expected.text.strip()
        assert whole.choices[0].finish_reason == ("stop" if expected.stopped else "length")
        pieces = list(client.chat.completions.create(**asked, stream=True))
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
        middle = text[len(text) // 2 :][:2]
        cut = client.chat.completions.create(**asked, stop=[middle]).choices[0].message.content
        assert middle and cut == text[: text.index(middle)]
        children = list_children(process)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130
        assert wait_until_gone(children)
        log = process.stdout.read()
        assert re.search(r"POST /v1/chat/completions  200 · \d+ \+ \d+ tokens · [\d.]+ tokens/s", log)
        assert "coat" not in log
        assert "merging coats" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
    # the second time what was merged is still there
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    said = []
    again = prepare_whole(Origin("adapter", str(adapter), str(adapter)), "coats", said.append)
    assert not said and (again.folder / "config.json").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_server_ends_with_its_parent_even_if_that_is_killed(environment, number, code):
    process = run_serve(environment, MODEL_DIR, "--port", 0)
    try:
        deadline = time.monotonic() + 60
        while not list_children(process) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = list_children(process)
        assert children
        process.send_signal(number)
        assert process.wait(15) == code
        assert wait_until_gone(children)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "needs a key"),
        ([MODEL_DIR], "transformers serves one model at a time, and 2 were named"),
        (["--with", "vllm"], "vllm: is not installed"),
        (["--with", "other"], "is no server"),
        (["--key", "short"], "at least 16 letters"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_loaded(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tui-tuner", "serve", str(MODEL_DIR), *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_port_in_use_is_named_before_the_model_is_loaded(capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["tui-tuner", "serve", str(MODEL_DIR), "--port", str(port)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2
    assert f"port {port} is in use" in capsys.readouterr().err


def test_an_adapter_of_plain_lora_is_served_beside_its_base_by_vllm(adapter, tmp_path):
    from tui_tuner.serving.backends import plan_vllm

    found = prepare_adapter(Origin("adapter", str(adapter), str(adapter)), "coats")
    assert found is not None and found.rank == 4
    plan = plan_vllm(ServedModel("demo", found.base), [found], trusts=False)
    told = " ".join(plan.arguments)
    assert f"--lora-modules coats={adapter}" in told and "--max-lora-rank 8" in told
    assert list(plan.models) == ["coats", "demo"]
    # no key in a list of processes
    assert plan.environment["VLLM_API_KEY"] not in told
    write_recipe([Origin("adapter", str(adapter), str(adapter))], tmp_path / "serve.yaml")
    text = (tmp_path / "serve.yaml").read_text()
    import yaml

    recipe = yaml.safe_load(text)
    assert recipe["file_mounts"] == {"/model": str(found.base), "/adapters/coats": str(adapter)}
    assert "--lora-modules coats=/adapters/coats" in recipe["run"]


VLLM = """#!{python}
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send(200, {{}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        right = self.headers["authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        message = {{"role": "assistant", "content": body["model"]}}
        choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
        told = {{"id": "1", "object": "chat.completion", "created": 1, "choices": [choice]}}
        told["model"] = body["model"]
        self.send(200 if right else 401, told)

    def send(self, status, told):
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

open(os.environ["ASKED"], "w").write(" ".join(sys.argv[1:]))
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_several_adapters_of_one_base_are_served_by_vllm_under_their_names(adapter, environment, tmp_path):
    """A program that is called as vLLM is: what it is asked, and that only the front reaches it."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(VLLM.format(python=sys.executable))
    program.chmod(0o755)
    other = tmp_path / "shoes"
    shutil.copytree(adapter, other)
    key = tmp_path / "key"
    key.write_text("a-key-of-many-letters")
    told = {
        **environment,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "ASKED": str(tmp_path / "asked"),
    }
    process = run_serve(told, adapter, other, "--port", 0, "--key-file", key)
    try:
        url = wait_for_url(process)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="a-key-of-many-letters", max_retries=0)
        names = [one.id for one in client.models.list()]
        assert names == ["coats", "shoes", "model"]
        for name in names:
            answer = client.chat.completions.create(model=name, messages=MESSAGES, n=1)
            assert answer.choices[0].message.content == name
        asked = (tmp_path / "asked").read_text()
        assert f"--lora-modules coats={adapter} shoes={other}" in asked and "--enable-lora" in asked
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
        children = list_children(process)
        process.terminate()
        assert process.wait(15) == 143
        assert wait_until_gone(children)
    finally:
        process.kill()
        process.wait()


def test_names_of_models_are_told_apart():
    origins = [
        Origin("run", "first", "/runs/first", "best"),
        Origin("run", "first", "/runs/first", "step-20"),
        Origin("model", "/a/my model", "/a/my model"),
        Origin("model", "/b/my model", "/b/my model"),
        Origin("hub", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
    ]
    assert name_models(origins) == ["first", "first-step-20", "my-model", "my-model-2", "Qwen/Qwen3-0.6B"]
