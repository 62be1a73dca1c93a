"""How a final model is loaded and asked by transformers and peft alone: the snippet of its card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.compute.encoders import plain_model
from tui_tuner.data.examples.windows import null_position
from tui_tuner.methods.prompts import virtual_positions
from tui_tuner.methods.weights import HEADED
from tui_tuner.models.new_weights import renamed_backbone


@dataclass(frozen=True)
class Usage:
    """How a model is used.

    Args:
        pipeline: What the hub calls that.
        code: Python that runs in the model's folder.
        one_by_one: It is right for one text at a time alone.
    """

    pipeline: str
    code: str
    one_by_one: bool = False


_CLASSES = """
inputs = tokenizer("A text to judge.", return_tensors="pt", truncation=True)
with torch.no_grad():
    scores = model(**inputs).logits[0]
"""
_ONE = """
probabilities = scores.softmax(-1)
for number, name in model.config.id2label.items():
    print(name, round(float(probabilities[number]), 4))
"""
_SEVERAL = """
probabilities = scores.sigmoid()
print([name for number, name in model.config.id2label.items() if probabilities[number] >= 0.5])
"""
_NUMBER = """
print(float(scores[0]))
"""
_TAGS = """
words = ["Anna", "lives", "in", "Berlin", "."]
inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", truncation=True)
with torch.no_grad():
    tags = model(**inputs).logits[0].argmax(-1)
seen = set()
for place, word in enumerate(inputs.word_ids()):
    if word is not None and word not in seen:  # a word has the tag of its first token
        seen.add(word)
        print(words[word], model.config.id2label[int(tags[place])])
"""
_ANSWER = """
question, text = "Where does Anna live?", "Anna lives in Berlin."
inputs = tokenizer(question, text, return_tensors="pt", return_offsets_mapping=True)
offsets = inputs.pop("offset_mapping")[0]
with torch.no_grad():
    found = model(**inputs)
start, end = found.start_logits[0], found.end_logits[0]
size = len(start)
inside = torch.tensor([part == 1 for part in inputs.sequence_ids()])
spans = torch.ones(size, size).bool().triu().tril(29) & inside & inside[:, None]  # 30 tokens at most
scores = (start[:, None] + end).masked_fill(~spans, -float("inf"))
first, last = divmod(int(scores.argmax()), size)
answer = text[offsets[first][0] : offsets[last][1]]
"""
_ALWAYS = """print(answer)
"""
_IF_ANY = """no_answer = start[{null}] + end[{null}] - scores.max()
print("no answer" if no_answer > model.config.null_threshold else answer)
"""
_CHAT = """
messages = [{"role": "user", "content": "Who are you?"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
"""
_TEXT = """
inputs = tokenizer("Once upon a time", return_tensors="pt", return_token_type_ids=False)
"""
_GENERATE = """
answer = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""

# By peft's name for the task: the class that loads the model, what the hub calls it
_KINDS = {
    "SEQ_CLS": ("AutoModelForSequenceClassification", "text-classification"),
    "TOKEN_CLS": ("AutoModelForTokenClassification", "token-classification"),
    "QUESTION_ANS": ("AutoModelForQuestionAnswering", "question-answering"),
    "CAUSAL_LM": ("AutoModelForCausalLM", "text-generation"),
}


def usage_of(model: Any, tokenizer: Any, peft_type: str, own_code: bool = False) -> Usage:
    """How this model is used.

    Args:
        peft_type: peft's name for the task.
        own_code: The model is made of code that comes with it.
    """
    adapter = hasattr(model, "peft_config")
    base = plain_model(model)
    auto_class, pipeline = _KINDS.get(peft_type, ("AutoModel", "feature-extraction"))
    ask = {
        "SEQ_CLS": _CLASSES + _judging(base),
        "TOKEN_CLS": _TAGS,
        "QUESTION_ANS": _ANSWER + _deciding(base, tokenizer),
        "CAUSAL_LM": (_CHAT if getattr(tokenizer, "chat_template", None) else _TEXT) + _GENERATE,
    }.get(peft_type, "")
    more = ", trust_remote_code=True" if own_code else ""
    names = renamed_backbone(auto_class, base.config) if peft_type in HEADED else {}
    named = f", key_mapping={names!r}" if names else ""
    loading = _adapter(auto_class, peft_type, more, named) if adapter else _whole(auto_class, more)
    pools_last = peft_type == "SEQ_CLS" and adapter and virtual_positions(model) > 0
    return Usage(pipeline, loading + ask, pools_last and _reads_forward(base))


def _judging(base: Any) -> str:
    """What the scores of a classifier mean."""
    kind = getattr(base.config, "problem_type", None)
    if kind == "regression" or getattr(base.config, "num_labels", 2) == 1:
        return _NUMBER
    return _SEVERAL if kind == "multi_label_classification" else _ONE


def _deciding(base: Any, tokenizer: Any) -> str:
    """What becomes of an answer where a text may hold none."""
    if getattr(base.config, "null_threshold", None) is None:
        return _ALWAYS
    ids = np.array(tokenizer("a", "b")["input_ids"])
    place = null_position(tokenizer, ids)
    return _IF_ANY.format(null=place - len(ids) if place > len(ids) // 2 else place)  # XLNet's is at the end


def _reads_forward(base: Any) -> bool:
    """Whether the state of a text is that of its last token."""
    return hasattr(base, "score")


def _whole(auto_class: str, more: str) -> str:
    return f"""
import torch
from transformers import {auto_class}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{more})
model = {auto_class}.from_pretrained(folder{more}).eval()
"""


def _adapter(auto_class: str, peft_type: str, more: str, named: str) -> str:
    """The adapter on its base model, whose config with the classes lies beside the adapter."""
    headed = peft_type in HEADED
    config = f", config=AutoConfig.from_pretrained(folder{more})" if headed else ""
    names = f"AutoConfig, {auto_class}" if headed else auto_class
    return f"""
import torch
from peft import PeftConfig, PeftModel
from transformers import {names}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{more})
made_on = PeftConfig.from_pretrained(folder)
model = {auto_class}.from_pretrained(
    made_on.base_model_name_or_path, revision=made_on.revision{config}{named}{more}
)
model = PeftModel.from_pretrained(model, folder).eval()
"""
