"""ChatGLM brings code for an old transformers: refused without consent, and tried with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ModelError
from tui_tuner.launch.beforehand import check_beforehand
from tui_tuner.models.loading import load_model, load_tokenizer

SETTINGS = """
from transformers import LlamaConfig


class ChatGLMConfig(LlamaConfig):
    model_type = "chatglm"
"""
# As that of ChatGLM2-6B of 2023: `max_length` was a field of every config
FAILS_TO_LOAD = """
from transformers.modeling_utils import PreTrainedModel

from .configuration_chatglm import ChatGLMConfig


class ChatGLMForConditionalGeneration(PreTrainedModel):
    config_class = ChatGLMConfig

    def __init__(self, config, empty_init=True, device=None):
        super().__init__(config)
        self.max_sequence_length = config.max_length
"""
# And its keys and values were tuples
FAILS_TO_COMPUTE = """
from transformers import LlamaForCausalLM

from .configuration_chatglm import ChatGLMConfig


class ChatGLMForConditionalGeneration(LlamaForCausalLM):
    config_class = ChatGLMConfig

    def forward(self, input_ids=None, past_key_values=None, **more):
        return super().forward(input_ids, past_length=past_key_values[0][0].shape[0])
"""
COMPUTES = """
from transformers import LlamaForCausalLM

from .configuration_chatglm import ChatGLMConfig


class ChatGLMForConditionalGeneration(LlamaForCausalLM):
    config_class = ChatGLMConfig
"""
Make = Callable[..., RunConfig]


@pytest.fixture
def chatglm(
    tiny_model: Path, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Make a config for a folder as ChatGLM's, with this code."""

    def make(code: str, agreed: bool = True) -> RunConfig:
        folder = tmp_path / "chatglm2-6b"
        shutil.copytree(tiny_model, folder)
        told = json.loads((folder / "config.json").read_text())
        told |= {
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "auto_map": {
                "AutoConfig": "configuration_chatglm.ChatGLMConfig",
                "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
            },
        }
        (folder / "config.json").write_text(json.dumps(told))
        # transformers remembers the model of a config's class, and the class by its text
        (folder / "configuration_chatglm.py").write_text(f"{SETTINGS}\n# {folder}\n")
        (folder / "modeling_chatglm.py").write_text(code)
        return make_config(model__name=str(folder), model__trust_remote_code=agreed)

    return make


def test_without_consent_it_is_refused_before_a_run(chatglm: Make) -> None:
    code = "raise SystemExit('nobody agreed to run this')"
    config = chatglm(code, agreed=False)
    for load in (check_beforehand, lambda config: load_model(config, "cpu")):
        with pytest.raises(ModelError, match="transformers has no code for ChatGLM") as refused:
            load(config)
        assert refused.value.field == "model.name"
        assert "zai-org/glm-4-9b-chat-hf" in refused.value.hint and "Qwen/Qwen3-4B" in refused.value.hint


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (FAILS_TO_LOAD, "max_length"),
        (FAILS_TO_COMPUTE, "NoneType"),
        ("import a_package_of_2023", "a_package_of_2023"),
    ],
)
def test_code_that_does_not_run_is_refused_with_the_reason_and_the_nearest_model(
    chatglm: Make, code: str, reason: str
) -> None:
    config = chatglm(code)
    check_beforehand(config)
    with pytest.raises(
        ModelError, match="code that ChatGLM brings does not run with transformers 5"
    ) as refused:
        load_model(config, "cpu")
    assert reason in refused.value.what and refused.value.field == "model.name"
    assert "zai-org/glm-4-9b-chat-hf" in refused.value.hint and "Qwen/Qwen3-4B" in refused.value.hint
    assert "trust_remote_code=false" in refused.value.hint


def test_code_that_runs_is_taken(chatglm: Make) -> None:
    config = chatglm(COMPUTES)
    model = load_model(config, "cpu")
    assert type(model).__name__ == "ChatGLMForConditionalGeneration"
    assert len(load_tokenizer(config.model)) > 100


def test_other_errors_of_such_a_folder_are_their_own(chatglm: Make) -> None:
    config = chatglm(COMPUTES)
    for weights in Path(config.model.name).glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_model(config, "cpu")
