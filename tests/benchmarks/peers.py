"""Programs that train the same rows, each in a process of its own: `python peers.py NAME FOLDER OPTIONS`.

OPTIONS is JSON: steps, warm (steps before the clock starts), dtype and out (file the result is written to).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from workload import StoredRows, run_values, shape_of  # noqa: E402


@dataclass
class Job:
    """What is asked of one process."""

    folder: Path
    steps: int
    warm: int
    dtype: str

    @property
    def half(self) -> bool:
        return self.dtype == "bfloat16"


@dataclass
class Measured:
    """What one process found: supervised tokens and seconds of the steps after the warm-up, and memory.

    Args:
        memory: Peak resident bytes above those just before training.
    """

    supervised: int = 0
    tokens: int = 0
    seconds: float = 0.0
    memory: int = 0
    steps: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Meter:
    """Counts supervised tokens and the time of steps, from the end of one to the end of another."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.found = Measured()
        self._ended: list[float] = []
        self._counts: list[tuple[int, int]] = []
        self._now = (0, 0)
        self._base = 0

    def begin_watch(self) -> None:
        """Just before training: forget the highest memory so far."""
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        self._base = _status("VmRSS")

    def batch(self, supervised: int, tokens: int) -> None:
        self._now = (self._now[0] + supervised, self._now[1] + tokens)

    def note_step(self, step: int) -> None:
        """The same, as the loop of tui-tuner calls it."""
        self.step_ended()

    def step_ended(self) -> None:
        self._ended.append(time.perf_counter())
        self._counts.append(self._now)
        self._now = (0, 0)

    def result(self) -> Measured:
        warm = self.job.warm
        counted = self._counts[warm:]
        self.found.supervised = sum(count[0] for count in counted)
        self.found.tokens = sum(count[1] for count in counted)
        self.found.steps = len(counted)
        self.found.seconds = self._ended[-1] - self._ended[warm - 1]
        self.found.memory = _status("VmHWM") - self._base
        return self.found


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def _callback(meter: Meter) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            meter.begin_watch()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            meter.step_ended()

    return Clock()


def _counted(trainer: Any, meter: Meter) -> None:
    """Count the targets of each batch as the trainer gets it."""
    inner = trainer.training_step

    def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        labels = inputs["labels"]
        targets = (labels[:, 1:] != -100).sum()
        positions = inputs.get("position_ids")
        if positions is not None:  # a first token of a packed sample has no predecessor
            targets -= ((labels != -100) & (positions == 0))[:, 1:].sum()
        mask = inputs.get("attention_mask")
        meter.batch(int(targets), int(mask.sum()) if mask is not None else labels.numel())
        return inner(model, inputs, *args, **kwargs)

    trainer.training_step = training_step


def _lora_model(job: Job) -> Any:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if job.half else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(job.folder / "model"), dtype=dtype)
    return get_peft_model(model, _lora(job))


def _lora(job: Job) -> Any:
    from peft import LoraConfig

    rank = shape_of(job.folder).rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _labelled(job: Job) -> list[dict[str, Any]]:
    import numpy as np

    rows = StoredRows(job.folder)
    found = []
    for place in range(len(rows)):
        ids, trained = rows[place]
        found.append({"input_ids": ids.tolist(), "labels": np.where(trained, ids, -100).tolist()})
    return found


def hf_padded(job: Job, grouped: bool = False) -> Measured:
    """Hugging Face Trainer with DataCollatorForSeq2Seq (padding to the longest of a batch)."""
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    meter = Meter(job)
    tokenizer = AutoTokenizer.from_pretrained(str(job.folder / "model"))
    arguments = TrainingArguments(
        output_dir=str(job.folder / "peers"),
        per_device_train_batch_size=shape_of(job.folder).batch,
        max_steps=job.steps,
        learning_rate=1e-4,
        bf16=job.half,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length" if grouped else "random",
    )
    trainer = Trainer(
        model=_lora_model(job),
        args=arguments,
        train_dataset=Dataset.from_list(_labelled(job)),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=[_callback(meter)],
    )
    _counted(trainer, meter)
    trainer.train()
    return meter.result()


def hf_grouped(job: Job) -> Measured:
    """Hugging Face Trainer with batches of similar length."""
    return hf_padded(job, grouped=True)


def _trl(job: Job, **settings: Any) -> Measured:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    meter = Meter(job)
    shape = shape_of(job.folder)
    arguments = SFTConfig(
        output_dir=str(job.folder / "peers"),
        max_steps=job.steps,
        learning_rate=1e-4,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        max_length=shape.max_length,
        **settings,
    )
    rows = [
        {"input_ids": row["input_ids"], "assistant_masks": [int(label != -100) for label in row["labels"]]}
        for row in _labelled(job)
    ]
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if job.half else torch.float32
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(job.folder / "model"), dtype=dtype),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(str(job.folder / "model")),
        peft_config=_lora(job),
        callbacks=[_callback(meter)],
    )
    _counted(trainer, meter)
    trainer.train()
    return meter.result()


def trl_default(job: Job) -> Measured:
    """TRL's SFTTrainer as it comes: bf16 autocast and gradient checkpointing."""
    return _trl(job, per_device_train_batch_size=shape_of(job.folder).batch)


def trl_packing(job: Job) -> Measured:
    """TRL's packing (best fit, padding-free) without checkpointing; a packed row is about one batch."""
    return _trl(
        job,
        per_device_train_batch_size=1,
        packing=True,
        gradient_checkpointing=False,
        bf16=job.half,
    )


def llamafactory(job: Job) -> Measured:
    """LLaMA-Factory with neat_packing, without checkpointing; the chats go through its own template."""
    from llamafactory.train.tuner import run_exp

    meter = Meter(job)
    shape = shape_of(job.folder)
    data = job.folder / "llamafactory"
    data.mkdir(exist_ok=True)
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    entry = {"file_name": str(job.folder / "chats.jsonl"), "formatting": "sharegpt", "tags": tags}
    entry["columns"] = {"messages": "messages"}
    (data / "dataset_info.json").write_text(json.dumps({"chats": entry}), encoding="utf-8")
    from transformers import Trainer

    inner = Trainer.training_step

    def training_step(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        mask = inputs.get("attention_mask")
        filled = int((mask > 0).sum()) if mask is not None else inputs["labels"].numel()
        meter.batch(int((inputs["labels"][:, 1:] != -100).sum()), filled)
        return inner(self, model, inputs, *args, **kwargs)

    Trainer.training_step = training_step
    settings = {
        "model_name_or_path": str(job.folder / "model"),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": shape.rank,
        "lora_target": "all",
        "dataset": "chats",
        "dataset_dir": str(data),
        "template": "chatml",
        "cutoff_len": shape.max_length,
        "packing": True,
        "neat_packing": True,
        "disable_gradient_checkpointing": True,
        "output_dir": str(data / "out"),
        "overwrite_output_dir": True,
        "overwrite_cache": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": job.steps,
        "learning_rate": 1e-4,
        "use_cpu": True,
        "bf16": job.half,
        "pure_bf16": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "plot_loss": False,
    }
    run_exp(settings, callbacks=[_callback(meter)])
    return meter.result()


def bare(job: Job) -> Measured:
    """A plain PyTorch loop over our own batches: forward, backward, clip, AdamW; nothing else."""
    import torch

    from tui_tuner.compute import attention
    from tui_tuner.compute.forward import ForwardWay, MicroSize
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.data.records import Example, make_next_token_labels
    from tui_tuner.objectives.causal import CausalObjective
    from tui_tuner.training.step.plan import StepPlan

    class Examples:
        """The stored rows with labels, as training reads them."""

        def __init__(self, rows: StoredRows) -> None:
            made = [rows[place] for place in range(len(rows))]
            self.examples = [Example(ids, make_next_token_labels(ids, trained)) for ids, trained in made]
            self.lengths = rows.lengths
            self.trained_tokens = np.array([example.trained_tokens for example in self.examples])

        def __len__(self) -> int:
            return len(self.examples)

        def __getitem__(self, index: int) -> Example:
            return self.examples[index]

    meter = Meter(job)
    shape = shape_of(job.folder)
    rows = Examples(StoredRows(job.folder))
    attention.register_attention()
    model = _lora_model(job)
    model.set_attn_implementation(attention.NAME)
    model.train()
    plan = StepPlan(rows.lengths, shape.batch, shape.seed)
    size = MicroSize(shape.batch, shape.batch * shape.max_length)
    objective = CausalObjective(RunConfig())
    objective.way = ForwardWay(True, True, True, torch.bfloat16 if job.half else None)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    places = [divmod(step, plan.steps_per_epoch) for step in range(job.steps)]
    batches = [objective.lay_batches(rows, plan.find_batch(*place), size) for place in places]
    meter.begin_watch()
    for batch in batches:
        targets = sum(micro.trained_tokens for micro in batch)
        for micro in batch:
            (objective.sum_losses(model, micro) / targets).backward()
            meter.batch(micro.trained_tokens, micro.example_tokens)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        meter.step_ended()
    return meter.result()


def ours(job: Job) -> Measured:
    """A whole run of tui-tuner: journal, heartbeat, commands, reports."""
    values = run_values(job.folder, job.steps, job.dtype)
    return our_run(job, values)


def our_run(
    job: Job,
    values: dict[str, Any],
    counted: Callable[[Any], tuple[int, int]] = lambda result: (result.trained, result.tokens),
) -> Measured:
    """A run of a config with a meter beside its own callbacks.

    Args:
        counted: What was supervised in an optimizer step, and its tokens, by its `StepResult`.
    """
    os.environ["XDG_CACHE_HOME"] = str(job.folder / "cache")
    from tui_tuner.config.load import build_config
    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.runs.journal import JournalWriter
    from tui_tuner.runs.store import RunStore
    from tui_tuner.tasks import find_task
    from tui_tuner.training.context import RunContext
    from tui_tuner.training.keeping.progress import Progress
    from tui_tuner.training.ranks import Ranks
    from tui_tuner.training.run_commands import Commands
    from tui_tuner.training.train import prepare_training
    from tui_tuner.training.watching.reporting import Heartbeat, Reporter

    config = build_config(values)
    folder = RunStore(config.output.folder).create_run(config)
    meter = Meter(job)
    reporter = Reporter(JournalWriter(folder.events_path, folder.name))
    with Heartbeat(reporter):
        commands, task = Commands(CommandReceiver(folder.control_path), reporter), find_task(config.task)
        context = RunContext(config, folder, reporter, commands, task, None, Progress(), Ranks())
        training = prepare_training(context)
        engine = training.engine
        inner = engine.train_step

        def train_step() -> Any:
            result = inner()
            meter.batch(*counted(result))
            return result

        engine.train_step = train_step  # type: ignore[method-assign]
        training.loop.watchers.append(meter)
        began = time.perf_counter()
        training.train_run()
        meter.found.notes["whole"] = time.perf_counter() - began
        meter.found.notes["way"] = str(engine.objective.way)
    return meter.result()


def ours_unshared(job: Job) -> Measured:
    """The same run with common beginnings computed for each row."""
    from tui_tuner.compute import shared_prefix

    shared_prefix.LEAST_SAVING = 2.0
    return ours(job)


def top_layers(job: Job, cached: bool = True) -> Measured:
    """LoRA on the two top layers for all epochs of the steps; the clock includes filling the cache."""
    from tui_tuner.compute import prefix_cache

    if not cached:
        prefix_cache.MOST_BYTES = 0
    values = run_values(job.folder, job.steps, job.dtype)
    values["method"]["layers"] = 2
    values["training"]["max_steps"] = job.steps
    meter = our_run(job, values)
    steady = meter.supervised / meter.seconds
    meter.notes["steady"] = steady
    whole = meter.notes["whole"]
    meter.supervised = int(meter.supervised * job.steps / meter.steps)
    meter.seconds = whole
    return meter


def top_layers_uncached(job: Job) -> Measured:
    """The same without a cache."""
    return top_layers(job, cached=False)


PEERS: dict[str, Callable[[Job], Measured]] = {
    "hf_padded": hf_padded,
    "hf_grouped": hf_grouped,
    "trl_default": trl_default,
    "trl_packing": trl_packing,
    "llamafactory": llamafactory,
    "bare": bare,
    "ours": ours,
    "ours_unshared": ours_unshared,
    "top_layers": top_layers,
    "top_layers_uncached": top_layers_uncached,
}


def measure_peer(peers: Mapping[str, Callable[[Job], Measured]]) -> None:
    """Run the program that the command line names: `NAME FOLDER OPTIONS`."""
    name, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    out = Path(options.pop("out"))
    found = peers[name](Job(folder, **options))
    out.write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    measure_peer(PEERS)
