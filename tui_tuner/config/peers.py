"""Names that other trainers use for config fields, as hints for users who come from one of them.

The names are those of LLaMA-Factory, axolotl, transformers and TRL, Unsloth, torchtune and soup. A key is
looked up by its last part, at any level; a test checks every field named here against the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_FIELDS: dict[str, str] = {
    # the model
    "model.name": "base_model model_name_or_path model_name model_id model_path base pretrained_model",
    "model.revision": "model_revision revision_of_model",
    "model.tokenizer": "tokenizer_name_or_path tokenizer_name tokenizer_path tokenizer_config tokenizer_id",
    "model.dtype": (
        "torch_dtype compute_dtype bnb_4bit_compute_dtype precision infer_dtype model_dtype pure_bf16"
    ),
    "model.quantization": "load_in_4bit load_in_8bit quantization_bit bnb_4bit_quant_type quant_bits",
    "model.double_quant": "bnb_4bit_use_double_quant double_quantization use_double_quant use_nested_quant",
    "model.attention": (
        "flash_attention flash_attn attn_implementation sdp_attention xformers_attention eager_attention "
        "flex_attention use_flash_attention_2 use_flash_attn attention_implementation attn_impl"
    ),
    "model.chat_template": (
        "template chat_template_jinja prompt_template chat_template_path conversation_template"
    ),
    # data
    "data.path": (
        "dataset datasets dataset_name dataset_path data_path train_file train_data data_files train_dataset "
        "dataset_dir train_files train dataset_id data_file training_data"
    ),
    "data.format": "dataset_type formatting prompt_style dataset_format prompt_strategy",
    "data.validation": (
        "val_size val_set_size eval_dataset test_datasets validation_file eval_file test_size val_dataset "
        "validation_split eval_split split_dataset_ratio val_split eval_data_path val_data"
    ),
    "data.max_length": (
        "cutoff_len sequence_len max_seq_length max_seq_len model_max_length seq_length "
        "block_size context_length max_sequence_length seq_len max_tokens"
    ),
    "data.max_source": "max_source_length max_input_length max_source_len encoder_max_length",
    "data.max_target": "max_target_length max_output_length max_target_len decoder_max_length",
    "data.prefix": "source_prefix task_prefix input_prefix",
    "data.source_language": "source_lang src_lang lang_src",
    "data.target_language": "target_lang tgt_lang lang_tgt forced_bos_token",
    "data.limit": "max_samples max_train_samples num_samples",
    "data.packing": (
        "sample_packing neat_packing pack_sequences packed eval_sample_packing pad_to_sequence_len "
        "padding_free"
    ),
    "data.train_on": (
        "train_on_inputs train_on_prompt train_on_input mask_history train_on_responses_only "
        "assistant_only_loss completion_only_loss roles_to_train train_on_eos mask_prompt"
    ),
    "data.loss_weight": "weight_column sample_weight_column sample_weight loss_weight_column",
    "data.columns": (
        "dataset_text_field text_field text_column prompt_column response_column query_column field_messages "
        "column_map field_instruction field_output field_input label_column label_column_name "
        "text_column_name text_column_names question_column context_column answer_column sentence1_key"
    ),
    "data.stride": "doc_stride document_stride return_overflowing_tokens max_query_length",
    "data.problem": "problem_type multi_label problem_kind",
    "data.system": "default_system system_prompt",
    "data.overlong": "truncation truncation_strategy excess_length_strategy truncate",
    "data.workers": (
        "preprocessing_num_workers dataset_num_proc dataset_processes dataloader_num_workers num_workers "
        "num_proc dataset_preprocess_threads"
    ),
    "data.seed": "data_seed shuffle_seed",
    # the method
    "method.kind": (
        "finetuning_type adapter use_dora use_rslora peft_type peft_method lora_type tuner_type use_peft "
        "train_type lora use_lora peft_use_dora peft_use_rslora tuning_method"
    ),
    "method.rank": "lora_r lora_rank r peft_lora_r loha_rank lora_dim",
    "method.alpha": "lora_alpha peft_lora_alpha lora_scaling",
    "method.dropout": "lora_dropout peft_lora_dropout",
    "method.targets": (
        "lora_target lora_target_modules target_modules lora_target_linear lora_attn_modules lora_modules "
        "apply_lora_to_mlp apply_lora_to_output"
    ),
    "method.layers": (
        "freeze_trainable_layers num_layer_trainable unfrozen_parameters layers_to_transform "
        "num_trainable_layers"
    ),
    "method.train_embeddings": (
        "lora_modules_to_save modules_to_save additional_target embedding_learning_rate resize_vocab "
        "train_lm_head"
    ),
    "method.virtual_tokens": "num_virtual_tokens",
    "method.init": "init_lora_weights pissa_init lora_init_weights loftq_config use_loftq",
    "method.rotation_block": "oft_block_size boft_block_size",
    "method.decompose_factor": "lokr_decompose_factor",
    "method.decompose_both": "lokr_decompose_both",
    "method.frequencies": "n_frequency fourier_n_frequency",
    "method.final_rank": "target_r adalora_target_r",
    # training
    "training.learning_rate": "lr learning_rates peak_lr max_lr lr_max",
    "training.epochs": "num_train_epochs num_epochs n_epochs max_epochs epoch",
    "training.max_steps": "max_train_steps total_steps max_steps_per_epoch train_steps",
    "training.batch_size": (
        "gradient_accumulation_steps global_batch_size train_batch_size accumulate_grad_batches "
        "effective_batch_size grad_accum_steps gradient_accumulation"
    ),
    "training.micro_batch": (
        "per_device_train_batch_size micro_batch_size per_gpu_train_batch_size device_batch_size"
    ),
    "training.gradient_checkpointing": (
        "use_gradient_checkpointing enable_activation_checkpointing disable_gradient_checkpointing "
        "activation_checkpointing gradient_checkpointing_kwargs unsloth_gradient_checkpointing"
    ),
    "training.lora_plus_ratio": (
        "loraplus_lr_ratio loraplus_ratio lora_plus_lr_ratio peft_loraplus_lr_ratio lorap_lr_ratio"
    ),
    "training.optimizer": "optim optimizer_name optimizer_type optim_args use_galore use_apollo",
    "training.optimizer_rank": "galore_rank apollo_rank",
    "training.optimizer_interval": (
        "galore_update_interval apollo_update_interval update_proj_gap galore_update_proj_gap"
    ),
    "training.schedule": (
        "lr_scheduler_type lr_scheduler scheduler lr_scheduler_kwargs lr_schedule scheduler_type"
    ),
    "training.warmup": (
        "warmup_ratio warmup_steps num_warmup_steps lr_warmup_steps warmup_fraction warmup_proportion"
    ),
    "training.weight_decay": "wd decay",
    "training.max_grad_norm": (
        "gradient_clipping grad_clip clip_grad_norm gradient_clip_val max_gradient_norm"
    ),
    "training.adam_beta1": "beta1",
    "training.adam_beta2": "beta2",
    "training.label_smoothing": "label_smoothing_factor label_smoothing_eps smoothing",
    "training.class_weights": "class_weight loss_weights label_weights pos_weight classifier_weights",
    "training.neftune_alpha": "neftune_noise_alpha noisy_embedding_alpha",
    "training.autocast": "bf16 fp16 amp mixed_precision half_precision bf16_full_eval",
    "training.report_every": "logging_steps log_every_n_steps log_interval logging_strategy",
    "training.seed": "random_seed random_state manual_seed",
    # evaluation
    "evaluation.every": (
        "eval_steps eval_strategy evaluation_strategy evals_per_epoch eval_interval val_check_interval "
        "run_val_every_n_steps do_eval eval_delay eval_every"
    ),
    "evaluation.early_stopping": "early_stopping_patience early_stopping_steps patience",
    "evaluation.best": "metric_for_best_model greater_is_better load_best_model_at_end",
    "evaluation.null_threshold": "null_score_diff_threshold version_2_with_negative na_prob_thresh",
    "evaluation.metric_rows": "predict_with_generate do_predict eval_table_size",
    "evaluation.max_new_tokens": (
        "generation_max_length max_generation_tokens eval_max_new_tokens max_completion_length"
    ),
    # the run
    "output.folder": "output_dir save_dir output_path checkpoint_dir out_dir logging_dir save_path",
    "output.name": "run_name wandb_run_id experiment_name wandb_name exp_name",
    "output.save_every": "save_steps save_strategy saves_per_epoch save_interval save_freq checkpoint_every",
    "output.keep": "save_total_limit keep_last_n_checkpoints max_checkpoints",
    "hardware.devices": (
        "num_gpus n_gpu gpus gpu_ids nproc_per_node num_processes device_map device cuda_visible_devices "
        "deepspeed fsdp fsdp_config local_rank world_size"
    ),
    "task": "stage task_type training_type rlhf_type rl train_stage",
}  # fmt: skip
KEYS: dict[str, str] = {name: field for field, names in _FIELDS.items() for name in names.split()}

_MICRO = N_("It is the number of sequences per forward pass; training.batch_size is that of a whole step.")
_AUTO = N_("auto uses 16 bits if the hardware supports them.")
# Differences in meaning that the name of our field does not show
NOTES: dict[str, str] = {
    "gradient_accumulation_steps": N_(
        "It counts the sequences of a whole step: sequences per device times accumulation steps."
    ),
    "per_device_train_batch_size": _MICRO,
    "micro_batch_size": _MICRO,
    "warmup_steps": N_("It is a share of all steps, such as 0.03."),
    "num_warmup_steps": N_("It is a share of all steps, such as 0.03."),
    "logging_steps": N_("It is in seconds; every step is recorded."),
    "bf16": _AUTO,
    "fp16": _AUTO,
    "deepspeed": N_("Several GPUs do not train one run together yet."),
    "return_overflowing_tokens": N_("Long texts are always read in windows; there is nothing to switch on."),
    "version_2_with_negative": N_("Questions without an answer are recognised from their rows."),
    "max_query_length": N_("It is the overlap of two windows of a long text; questions are never cut."),
    "fsdp": N_("Several GPUs do not train one run together yet."),
}
_WITHOUT: dict[str, str] = {
    "report_to wandb_project wandb_entity wandb_watch wandb_log_model use_wandb use_tensorboard plot_loss "
    "mlflow_tracking_uri use_swanlab swanlab_project": N_(
        "It is not needed: the run's own journal records every step, and the workbench shows it."
    ),
    "do_train overwrite_output_dir overwrite_cache ddp_timeout save_only_model group_by_length strict "
    "remove_unused_columns include_num_input_tokens_seen ddp_find_unused_parameters shuffle auto_resume "
    "dataset_prepared_path save_safetensors special_tokens is_llama_derived_model model_type tokenizer_type "
    "per_device_eval_batch_size eval_batch_size logging_first_step label_names optim_target_modules plugins "
    "liger_kernel use_unsloth enable_liger_kernel low_cpu_mem_usage bias lora_bias add_eos_token "
    "add_bos_token padding_side pad_token": N_("It is not needed."),
    "resume_from_checkpoint auto_resume_from_checkpoints": N_("`tui-tuner resume RUN` resumes a run."),
    "num_labels id2label label2id label_list classes class_names label_all_tokens ignore_index": N_(
        "It is not needed: classes and tags are found in the rows and named in the model's config."
    ),
    "n_best_size max_answer_length return_entity_level_metrics is_regression": N_("It is not needed."),
    "push_to_hub hub_model_id hub_strategy hub_token": N_("This program does not upload to a hub."),
    "_component_": N_("Use the fields of this program instead; `tui-tuner presets` lists examples."),
}
# Keys of peers without a field here, with the reason
WITHOUT: dict[str, str] = {name: why for names, why in _WITHOUT.items() for name in names.split()}

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_SCHEDULES = {"cosine_with_restarts": "cosine", "constant_with_warmup": "constant", "polynomial": "linear"}
# Values that have another name here: for a peer's key and value, the lines to write instead
VALUES: dict[str, dict[str, str]] = {
    "stage": {"sft": "task: sft", "pt": "task: pretraining"},
    "train_stage": {"sft": "task: sft", "pt": "task: pretraining"},
    "task_type": {
        "causal_lm": "task: sft",
        "sft": "task: sft",
        "seq_cls": "task: classification",
        "token_cls": "task: token_classification",
        "question_ans": "task: question_answering",
    },
    "problem_type": {
        "single_label_classification": "data.problem: single",
        "multi_label_classification": "data.problem: multi",
        "regression": "data.problem: regression",
    },
    "multi_label": dict.fromkeys(_TRUE, "data.problem: multi")
    | dict.fromkeys(_FALSE, "data.problem: single"),
    "adapter": {
        "qlora": "method.kind: lora, model.quantization: nf4",
        "lora": "method.kind: lora",
    },
    "finetuning_type": {kind: f"method.kind: {kind}" for kind in ("lora", "full", "freeze")},
    "load_in_4bit": dict.fromkeys(_TRUE, "model.quantization: nf4")
    | dict.fromkeys(_FALSE, "model.quantization: none"),
    "load_in_8bit": dict.fromkeys(_TRUE, "model.quantization: int8")
    | dict.fromkeys(_FALSE, "model.quantization: none"),
    "quantization_bit": {"4": "model.quantization: nf4", "8": "model.quantization: int8"},
    "use_dora": dict.fromkeys(_TRUE, "method.kind: dora"),
    "use_rslora": dict.fromkeys(_TRUE, "method.kind: rslora"),
    "use_peft": dict.fromkeys(_TRUE, "method.kind: lora") | dict.fromkeys(_FALSE, "method.kind: full"),
    "flash_attention": dict.fromkeys(_TRUE, "model.attention: auto"),
    "flash_attn": dict.fromkeys((*_TRUE, "auto"), "model.attention: auto")
    | {"fa2": "model.attention: flash_attention_2", "sdpa": "model.attention: sdpa"},
    "torch_dtype": {
        short: f"model.dtype: {ours}"
        for ours, names in (
            ("bfloat16", "bf16 bfloat16 torch.bfloat16"),
            ("float16", "fp16 float16 half torch.float16"),
            ("float32", "fp32 float32 torch.float32"),
        )
        for short in names.split()
    },
    "lr_scheduler_type": {name: f"training.schedule: {ours}" for name, ours in _SCHEDULES.items()}
    | {
        name: f"training.schedule: {name}"
        for name in ("cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay")
    },
    "optim": {
        name: f"training.optimizer: {ours}"
        for ours, names in (
            ("adamw", "adamw_torch adamw_torch_fused adamw_hf"),
            ("adamw_8bit", "adamw_bnb_8bit adamw_8bit"),
            ("paged_adamw_8bit", "paged_adamw_8bit"),
            ("adafactor", "adafactor"),
            ("sgd", "sgd"),
            ("lion", "lion lion_32bit"),
            ("muon", "muon"),
            ("schedule_free", "schedule_free_adamw adamw_schedule_free schedulefree"),
            ("galore", "galore_adamw galore_adamw_layerwise"),
            ("apollo", "apollo_adamw apollo_adamw_layerwise"),
        )
        for name in names.split()
    },
    "use_galore": dict.fromkeys(_TRUE, "training.optimizer: galore"),
    "use_apollo": dict.fromkeys(_TRUE, "training.optimizer: apollo"),
    "lora_target": {"all": "method.targets: all-linear"},
    "lora_target_linear": dict.fromkeys(_TRUE, "method.targets: all-linear"),
    "train_on_inputs": dict.fromkeys(_TRUE, "data.train_on: everything")
    | dict.fromkeys(_FALSE, "data.train_on: all_answers"),
    "train_on_prompt": dict.fromkeys(_TRUE, "data.train_on: everything")
    | dict.fromkeys(_FALSE, "data.train_on: all_answers"),
    "mask_history": dict.fromkeys(_TRUE, "data.train_on: last_answer"),
    "sample_packing": dict.fromkeys(_TRUE, "data.packing: true")
    | dict.fromkeys(_FALSE, "data.packing: false"),
}  # fmt: skip
VALUES["lr_scheduler"] = VALUES["lr_scheduler_type"]

# Keys that are typical of a trainer's files; the more of them, the more certain
SIGNS: dict[str, str] = {
    "LLaMA-Factory": (
        "stage finetuning_type cutoff_len template dataset_dir lora_target lora_rank overwrite_cache "
        "preprocessing_num_workers val_size plot_loss quantization_bit flash_attn"
    ),
    "axolotl": (
        "base_model datasets sequence_len sample_packing micro_batch_size adapter val_set_size "
        "lora_target_linear lora_r dataset_prepared_path pad_to_sequence_len num_epochs flash_attention "
        "wandb_project train_on_inputs evals_per_epoch saves_per_epoch lora_target_modules"
    ),
    "transformers": (
        "per_device_train_batch_size num_train_epochs output_dir eval_strategy lr_scheduler_type "
        "logging_steps save_steps report_to warmup_ratio evaluation_strategy save_total_limit optim"
    ),
    "TRL": (
        "dataset_name max_seq_length assistant_only_loss use_peft lora_r lora_target_modules "
        "attn_implementation dataset_num_proc model_name_or_path torch_dtype"
    ),
    "Unsloth": (
        "use_gradient_checkpointing random_state target_modules r lora_alpha max_seq_length load_in_4bit "
        "use_rslora loftq_config fast_inference"
    ),
    "torchtune": (
        "_component_ lora_attn_modules apply_lora_to_mlp apply_lora_to_output checkpointer metric_logger "
        "compile enable_activation_checkpointing"
    ),
    "soup": "base train lora lr val_split",
}  # fmt: skip
_SURE = 3  # typical keys in one file; a few, such as lora_r, occur with several trainers


def find_peer_field(path: str) -> str:
    """Return our field for a peer's key, looked up by the last part of its path; empty if there is none."""
    return KEYS.get(_plain_name(path), "")


def hint_at_peer_field(path: str, value: Any = None) -> str:
    """Return a hint with our name for a peer's key, and for its value if that differs; empty if unknown."""
    name = _plain_name(path)
    if name in WITHOUT:
        return _(WITHOUT[name])
    if name not in KEYS:
        return ""
    told = VALUES.get(name, {}).get(str(value).strip().lower()) or _translate_datasets(name, value)
    first = _("Here it is {field}.", field=told or KEYS[name])
    return f"{first} {_(NOTES[name])}" if name in NOTES else first


def knows_value(path: str, value: Any) -> bool:
    """Return whether peers give this value to a key, which may have the name of a field of ours."""
    return str(value).strip().lower() in VALUES.get(_plain_name(path), {})


def _translate_datasets(name: str, value: Any) -> str:
    """Translate axolotl's list of one data set into `data.path`; empty for anything else."""
    if name != "datasets" or not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return ""
    path = value[0].get("path")
    return f"data.path: {one_line(path, 80)}" if isinstance(path, str) and len(value) == 1 else ""


def name_peer_trainer(paths: Iterable[str]) -> str:
    """Return the trainer that these unknown keys point to; empty if there are too few typical ones."""
    names = {_plain_name(path) for path in paths}
    counts = {peer: len(names & set(signs.split())) for peer, signs in SIGNS.items()}
    best = max(counts, key=lambda peer: counts[peer])
    return best if counts[best] >= _SURE else ""


def _plain_name(path: str) -> str:
    return path.rpartition(".")[2].lower().replace("-", "_")
