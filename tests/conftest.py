"""A tiny random model with a real tokenizer, made on the spot: nothing is downloaded."""

from __future__ import annotations

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Models this small are quicker on one thread, also in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import EventBody, name_event_kind
from tui_tuner.runs.wire import list_event_fields

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
COLOURS = ("red", "blue", "green", "black", "white", "brown")
THINGS = ("skirt", "coat", "shirt", "scarf", "dress", "glove")


def chat_rows(count: int = 60) -> list[dict[str, Any]]:
    """Chats of unequal length."""
    rows = []
    for number in range(count):
        colour, thing = COLOURS[number % 6], THINGS[(number // 6 + number) % 6]
        answer = f"A {colour} {thing}" + " that is warm and soft" * (number % 5) + "."
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"Describe the {thing}, it is {colour}. Number {number}."},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE of a few hundred tokens with a ChatML template whose stop token is eos."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [message["content"] for row in chat_rows() for message in row["messages"]]
    tokenizer.train_from_iterator([*texts, "user\nassistant\nsystem\n"], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
    )
    wrapped.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    wrapped.chat_template = CHATML
    return wrapped


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A folder with a random Llama (hidden 64, 3 layers, grouped heads) and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tiny_tokenizer.eos_token_id,
        pad_token_id=tiny_tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """A JSONL file with 60 chats."""
    return write_jsonl(tmp_path / "chats.jsonl", chat_rows())


MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def make_config(tiny_model: Path, chats: Path, tmp_path: Path) -> MakeConfig:
    """A config for a short run of the tiny model on CPU; `section__field=value` changes it."""

    def make(**changes: Any) -> RunConfig:
        values: dict[str, Any] = {
            "model": {"name": str(tiny_model), "dtype": "float32"},
            "data": {"path": str(chats), "validation": 0.1, "max_length": 128, "workers": 1},
            "method": {"kind": "lora", "rank": 4, "alpha": 8},
            "training": {
                "max_steps": 6,
                "batch_size": 8,
                "micro_batch": 2,
                "learning_rate": 0.005,
                "autocast": False,
                "report_every": 0.05,
            },
            "evaluation": {"samples": 0, "every": 3},
            "output": {"folder": str(tmp_path / "runs"), "save_every": 3},
            "hardware": {"devices": "cpu"},
        }
        for name, value in changes.items():
            section, _, field = name.partition("__")
            if field:
                values.setdefault(section, {})[field] = value
            else:
                values[section] = value
        return build_config(values)

    return make


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="Keep the screens of tests/ui/snapshots as they are now.",
    )


class Recorder:
    """A sink that keeps what it hears, also by the names it has in a journal."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.bodies: list[EventBody] = []

    def emit(self, body: EventBody) -> None:
        self.bodies.append(body)
        fields = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in list_event_fields(body).items()
        }
        self.events.append((name_event_kind(body), fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == kind]

    def steps(self) -> dict[int, float]:
        """Loss of each step; of a step that was done again, the last."""
        return {fields["step"]: fields["loss"] for fields in self.of("step")}


class Trained:
    """A run that came to its end in this process."""

    def __init__(self, config: RunConfig, resume: Any = None, before: Any = None) -> None:
        from tui_tuner.runs.control import CommandReceiver
        from tui_tuner.runs.store import RunStore
        from tui_tuner.training.session import run_training

        self.sink = Recorder()
        self.folder = resume or RunStore(config.output.folder).create_run(config)
        self.control = CommandReceiver(self.folder.control_path)
        if before is not None:
            before(self)
        self.outcome = run_training(config, self.folder, self.sink, self.control, resume=resume is not None)

    def steps(self) -> dict[int, float]:
        return self.sink.steps()

    def warnings(self) -> list[dict[str, Any]]:
        """What went on, but for what the plan says of the config at the start."""
        return [one for one in self.sink.of("warning") if not one["code"].startswith("advice_")]

    def codes(self) -> list[str]:
        return [one["code"] for one in self.warnings()]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """Runs a config to its end; the token cache is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Trained
