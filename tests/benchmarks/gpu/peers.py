"""Other programs on the same texts: TRL with packing and Liger, Unsloth, and a bare loop of transformers."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from gpu.cases import LENGTH, TARGETS, UNSLOTH, Case, Steps
from gpu.traces import Recorder

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "UNSLOTH_DISABLE_STATISTICS": "1",
}


class Clock:
    """Tokens and times of steps, from the end of one to the end of another."""

    def __init__(self, steps: Steps, began: float) -> None:
        self.steps, self._began = steps, began
        self.tokens = 0
        self.recorder = Recorder(steps.warm + steps.timed, steps.profiled, lambda: self.tokens)
        self._first: float | None = None
        self._ends: list[tuple[float, int]] = []
        self.peak = 0

    def step_begins(self, tokens: int) -> None:
        if self._first is None:
            self._first = time.time() - self._began
        self.recorder.step_begins()
        self.tokens += tokens

    def step_ends(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated()
        self._ends.append((time.perf_counter(), self.tokens))

    def result(self) -> dict[str, Any]:
        self.recorder.end()
        begin, end = self._ends[self.steps.warm - 1], self._ends[self.steps.warm + self.steps.timed - 1]
        tokens = end[1] - begin[1]
        return {
            "tokens_a_second": tokens / (end[0] - begin[0]),
            "tokens_a_step": tokens / self.steps.timed,
            "first_step": self._first,
            "peak_bytes": self.peak,
            **self.recorder.found,
        }


def trainer(who: str, folder: Path, case: Case, steps: Steps, began: float) -> dict[str, Any]:
    """TRL's SFTTrainer with packing, over a model of transformers with Liger's kernels, or of Unsloth."""
    os.environ.update(ENVIRONMENT)
    if who == UNSLOTH:
        import unsloth  # noqa: F401  # it wants to be imported first
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    path = folder / case.model
    model, tokenizer, more = (_unsloth if who == UNSLOTH else _plain)(path, case, cuda)
    with open(folder / "text.jsonl", encoding="utf-8") as file:
        rows = Dataset.from_list([json.loads(line) for line in file])
    clock = Clock(steps, began)

    class Ends(TrainerCallback):
        def on_step_end(self, *args: Any, **named: Any) -> None:
            clock.step_ends()

    arguments = SFTConfig(
        output_dir=str(folder / "peer"),
        max_steps=steps.all,
        learning_rate=1e-5,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        max_length=LENGTH,
        packing=True,
        per_device_train_batch_size=case.packed,
        gradient_accumulation_steps=1,
        bf16=cuda,
        use_cpu=not cuda,
        dataset_text_field="text",
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        warmup_steps=1,
        **({} if who == UNSLOTH else {"gradient_checkpointing": True, "use_liger_kernel": cuda}),
    )
    sft = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[Ends()],
        **more,
    )
    inner = sft.training_step

    def training_step(model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> Any:
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        whole = mask is None or mask.dim() != 2 or mask.dtype == torch.bool
        clock.step_begins(ids.numel() if whole else int(mask.sum()))
        return inner(model, inputs, *args, **named)

    sft.training_step = training_step
    sft.train()
    return clock.result()


def _plain(path: Path, case: Case, cuda: bool) -> tuple[Any, Any, dict[str, Any]]:
    from peft import LoraConfig
    from transformers import AutoTokenizer

    model = _load(path, case, cuda)
    lora = LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    more = {} if case.method == "full" else {"peft_config": lora}
    return model, AutoTokenizer.from_pretrained(path), more


def _load(path: Path, case: Case, cuda: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    named: dict[str, Any] = {}
    if case.quantization == "nf4":
        named["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return AutoModelForCausalLM.from_pretrained(
        path,
        dtype=torch.bfloat16 if cuda else torch.float32,
        device_map={"": 0} if cuda else None,
        attn_implementation="sdpa",
        **named,
    )


def _unsloth(path: Path, case: Case, cuda: bool) -> tuple[Any, Any, dict[str, Any]]:
    import torch
    from unsloth import FastLanguageModel

    model, tokenizer = FastLanguageModel.from_pretrained(
        str(path),
        max_seq_length=LENGTH,
        dtype=torch.bfloat16,
        load_in_4bit=case.quantization == "nf4",
        full_finetuning=case.method == "full",
        local_files_only=True,
    )
    if case.method != "full":
        model = FastLanguageModel.get_peft_model(
            model,
            r=16,
            lora_alpha=16,
            lora_dropout=0,
            bias="none",
            target_modules=TARGETS,
            use_gradient_checkpointing="unsloth",
        )
    return model, tokenizer, {}


def bare(folder: Path, case: Case, steps: Steps, began: float) -> dict[str, Any]:
    """A loop anybody might write: chats in a flat row, peft, checkpointing, AdamW, nothing else."""
    os.environ.update(ENVIRONMENT)
    import torch
    from transformers import AutoTokenizer

    cuda = torch.cuda.is_available()
    model = _load(folder / case.model, case, cuda)
    if case.method != "full":
        from peft import LoraConfig, get_peft_model

        model.enable_input_require_grads()
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=cuda)
    tokenizer = AutoTokenizer.from_pretrained(folder / case.model)
    with open(folder / "text.jsonl", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    rows = [tokenizer(text)["input_ids"][:LENGTH] for text in texts[: steps.all * case.batch]]
    clock, device = Clock(steps, began), "cuda" if cuda else "cpu"
    for step in range(steps.all):
        batch = [rows[place % len(rows)] for place in range(step * case.batch, (step + 1) * case.batch)]
        ids = torch.tensor([token for row in batch for token in row], device=device)[None]
        places = torch.tensor([place for row in batch for place in range(len(row))], device=device)[None]
        labels = ids.clone()
        labels[places == 0] = -100
        clock.step_begins(ids.numel())
        with torch.autocast(device, dtype=torch.bfloat16, enabled=cuda):
            loss = model(input_ids=ids, position_ids=places, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step_ends()
    return clock.result()
