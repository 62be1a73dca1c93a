"""Write the snippet of a model card: how to load and use a final model in Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.data.examples.pair_windows import find_null_position
from tui_tuner.methods.attached import count_virtual_positions, count_virtual_tokens, find_model_method
from tui_tuner.methods.layers import HEADED
from tui_tuner.methods.peft_method import name_below
from tui_tuner.models.growing.new_rows import find_new_rows
from tui_tuner.models.new_weights import map_backbone_names
from tui_tuner.models.vocabulary import count_embedding_rows


@dataclass(frozen=True)
class Usage:
    """A snippet for a model, and what the hub calls its task.

    Args:
        pipeline: The hub's name for the task.
        code: Python that runs in the model's folder.
        one_by_one: The snippet is right only for one text at a time.
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
_REWRITE = """
inputs = tokenizer({text}, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
"""
_FILL = """
inputs = tokenizer(f"It is {tokenizer.mask_token} today.", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits[0, -inputs["input_ids"].shape[1] :]
guesses = logits[inputs["input_ids"][0] == tokenizer.mask_token_id].softmax(-1).topk(5)
for share, token in zip(guesses.values[0].tolist(), guesses.indices[0].tolist()):
    print(tokenizer.decode([token]), round(share, 4))
"""

# For adapters with virtual tokens: plain libraries need these lines until peft knows the new name (see
# methods/cache_names.py, which a card cannot import)
_OLD_NAMES = """
# transformers 5.24 calls `cache` what peft 0.21 knows as `past_key_values`
if transformers.__version__ >= "5.24" and peft.__version__ < "0.22":{lines}
"""
_PREPARE_OLD = """
    prepare = model.base_model_prepare_inputs_for_generation

    def prepare_inputs(*args, **kwargs):
        inputs = prepare(*args, **kwargs)
        inputs["past_key_values"] = inputs.pop("cache", None)
        return inputs

    model.base_model_prepare_inputs_for_generation = prepare_inputs"""
_FORWARD_OLD = """
    for part in {type(model.base_model), type(model.base_model.base_model)}:
        taken = inspect.signature(part.forward).parameters.values()
        taken = [one.replace(name="past_key_values") if one.name == "cache" else one for one in taken]
        part.forward.__signature__ = inspect.Signature(taken)"""

_ROWS = """# rows for the tokens that were added to its vocabulary
model.resize_token_embeddings({rows}, mean_resizing=False)
"""
_MEANS = """new = json.loads((pathlib.Path(folder) / "new_tokens.json").read_text(encoding="utf-8"))["tokens"]
tables = [model.get_input_embeddings().weight]
if model.get_output_embeddings() is not None and model.get_output_embeddings().weight is not tables[0]:
    tables.append(model.get_output_embeddings().weight)
if getattr(model.get_output_embeddings(), "bias", None) is not None:
    tables.append(model.get_output_embeddings().bias)
with torch.no_grad():
    for token in new:  # each is the mean of the pieces that it replaces
        for table in tables:
            table[token["id"]] = table[token["pieces"]].float().mean(0)
"""

# For each of peft's names of a task: the class that loads the model, and the hub's name of the task
_KINDS = {
    "SEQ_CLS": ("AutoModelForSequenceClassification", "text-classification"),
    "TOKEN_CLS": ("AutoModelForTokenClassification", "token-classification"),
    "QUESTION_ANS": ("AutoModelForQuestionAnswering", "question-answering"),
    "CAUSAL_LM": ("AutoModelForCausalLM", "text-generation"),
    "SEQ_2_SEQ_LM": ("AutoModelForSeq2SeqLM", "text2text-generation"),
    # peft has no name for models that fill in masks
    "FEATURE_EXTRACTION": ("AutoModelForMaskedLM", "fill-mask"),
}


def describe_usage(
    model: Any, tokenizer: Any, peft_type: str, own_code: bool = False, prefix: str = ""
) -> Usage:
    """Return the snippet for this model.

    Args:
        peft_type: peft's name for the task.
        own_code: The model's code comes with its files.
        prefix: What the encoder of such a model reads before each text.
    """
    library = find_model_method(model).library
    base = unwrap_model(model)
    auto_class, pipeline = _KINDS.get(peft_type, ("AutoModel", "feature-extraction"))
    ask = {
        "SEQ_CLS": _CLASSES + _format_judging(base),
        "TOKEN_CLS": _TAGS,
        "QUESTION_ANS": _ANSWER + _format_deciding(base, tokenizer),
        "SEQ_2_SEQ_LM": _REWRITE.format(text=json.dumps(f"{prefix}A text to rewrite.", ensure_ascii=False)),
        "FEATURE_EXTRACTION": _FILL,
        "CAUSAL_LM": (_CHAT if getattr(tokenizer, "chat_template", None) else _TEXT) + _GENERATE,
    }.get(peft_type, "")
    more = ", trust_remote_code=True" if own_code else ""
    names = map_backbone_names(auto_class, base.config) if peft_type in HEADED else {}
    named = f", key_mapping={names!r}" if names else ""
    if library == "transformers":
        loading = _format_whole(auto_class, more)
    else:
        library = STANDALONE if find_model_method(model).standalone else library
        old_names = _format_old_names(model, peft_type)
        below, growing = name_below(model), _format_growing(model)
        loading = _format_adapter(library, auto_class, peft_type, more, named, old_names, below, growing)
    # With virtual tokens, peft takes the last position of a padded row for the end of its text.
    pools_last = peft_type == "SEQ_CLS" and count_virtual_positions(model) > 0
    return Usage(pipeline, loading + ask, pools_last and _reads_forward(base))


def _format_judging(base: Any) -> str:
    """Return the lines that read a classifier's scores."""
    kind = getattr(base.config, "problem_type", None)
    if kind == "regression" or getattr(base.config, "num_labels", 2) == 1:
        return _NUMBER
    return _SEVERAL if kind == "multi_label_classification" else _ONE


def _format_deciding(base: Any, tokenizer: Any) -> str:
    """Return the lines that print the answer, or decide that the text has none."""
    if getattr(base.config, "null_threshold", None) is None:
        return _ALWAYS
    ids = np.array(tokenizer("a", "b")["input_ids"])
    place = find_null_position(tokenizer, ids)
    # XLNet has the token at the end, where its index depends on the text: there it is counted from the end.
    return _IF_ANY.format(null=place - len(ids) if place > len(ids) // 2 else place)


def _reads_forward(base: Any) -> bool:
    """Return whether the model classifies a text by the state of its last token."""
    # transformers names the head `score` in decoders, and `classifier` or the like in encoders.
    return hasattr(base, "score")


def _format_whole(auto_class: str, more: str) -> str:
    return f"""
import torch
from transformers import {auto_class}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{more})
model = {auto_class}.from_pretrained(folder{more}).eval()
"""


STANDALONE = "standalone"
# For each library that puts an adapter onto its base model: imports, the line that reads which base model it
# is, that model with its revision, and the call
_PUTTING = {
    "peft": (
        "from peft import PeftConfig, PeftModel",
        "made_on = PeftConfig.from_pretrained(folder)",
        "made_on.base_model_name_or_path, revision=made_on.revision",
        "PeftModel.from_pretrained(model, folder)",
    ),
    "tui-tuner": (
        "import json\nfrom pathlib import Path\n\n"
        "from tui_tuner.methods.saved.putting import put_adapter_on_model",
        'made_on = json.loads((Path(folder) / "adapter_config.json").read_text())',
        'made_on["base_model_name_or_path"], revision=made_on["revision"] or "main"',
        "put_adapter_on_model(model, Path(folder))",
    ),
    STANDALONE: (
        "import json\nimport sys\nfrom pathlib import Path\n",
        'made_on = json.loads((Path(folder) / "adapter_config.json").read_text())\n'
        "sys.path.insert(0, folder)\nfrom load_adapter import load_adapter  # the file next to this one",
        'made_on["base_model_name_or_path"], revision=made_on["revision"] or "main"',
        "load_adapter(model, folder)",
    ),
}


def _format_old_names(model: Any, peft_type: str) -> str:
    """Return the lines that give peft the cache of transformers 5.24 under its old name, if it needs it."""
    shape = unwrap_model(model).config.get_text_config()
    # A model without attention (Mamba) caches no keys.
    if not count_virtual_tokens(model) or not hasattr(shape, "num_attention_heads"):
        return ""
    if peft_type == "CAUSAL_LM":
        return _OLD_NAMES.format(lines=_PREPARE_OLD)
    return "" if count_virtual_positions(model) else _OLD_NAMES.format(lines=_FORWARD_OLD)


def _format_adapter(
    library: str,
    auto_class: str,
    peft_type: str,
    more: str,
    named: str,
    old_names: str,
    below: list[str],
    growing: str,
) -> str:
    """Return the lines that load the base model and put the adapter onto it."""
    # The config in the adapter's folder has the names of the classes, which the base model's lacks.
    headed = peft_type in HEADED
    config = f", config=AutoConfig.from_pretrained(folder{more})" if headed else ""
    names = f"AutoConfig, {auto_class}" if headed else auto_class
    imports, made_on, where, putting = _PUTTING[library]
    modules = "import peft\nimport torch\nimport transformers" if old_names else "import torch"
    if "inspect." in old_names:
        modules = f"import inspect\n\n{modules}"
    if _MEANS in growing:
        modules = f"import json\nimport pathlib\n\n{modules}"
    imports += "\nfrom peft.tuners.tuners_utils import BaseTunerLayer" if below else ""
    return f"""
{modules}
{imports}
from transformers import {names}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{more})
{made_on}
model = {auto_class}.from_pretrained(
    {where}{config}{named}{more}
)
{growing}model = {putting}.eval()
{old_names}{_format_below(below)}"""


def _format_growing(model: Any) -> str:
    """Return the lines that give the base model rows for new tokens; empty without any."""
    base = unwrap_model(model)
    if not find_new_rows(base):
        return ""
    table = base.get_input_embeddings()
    lines = _ROWS.format(rows=count_embedding_rows(base))
    # Trained rows are in the adapter's file.
    return lines if any(one.requires_grad for one in table.parameters()) else lines + _MEANS


def _format_below(names: list[str]) -> str:
    """Return the lines that put the frozen adapters below the trained one; empty without any."""
    if not names:
        return ""
    return f"""
# it was trained on top of others, which are in folders beside it: all of them have to be active
for name in {names!r}:
    model.load_adapter(f"{{folder}}/{{name}}", name)
for module in model.modules():
    if isinstance(module, BaseTunerLayer):
        module.set_adapter([*{names!r}, "default"])
model.eval()
"""
