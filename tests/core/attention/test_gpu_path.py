"""What a GPU runs, run here: tensors of a processor, and stand-ins for the operators that it lacks."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import Recorder
from tests.core.attention import references
from tests.core.test_architectures import SHAPE
from tests.core.test_loss import SomeRows
from tests.core.ways import Silent
from tui_tuner.compute import attention
from tui_tuner.compute.attention import efficient, entry, gpu, kernel_state, trial
from tui_tuner.compute.attention.kernel_choice import Kernel, KernelMeans
from tui_tuner.compute.attention.spans import AttentionAsk, find_attention_spans
from tui_tuner.compute.forward import lay_padded_rows
from tui_tuner.config.load import build_config
from tui_tuner.models.device import Device
from tui_tuner.objectives.causal import CausalObjective
from tui_tuner.objectives.setup import Setup
from tui_tuner.training.loop import Loop
from tui_tuner.training.watching.reporting import Reporter

CARD = Device("cuda", name="H100", capability=(9, 0))
ROWS = SomeRows([17, 5, 40, 9], 300)


class Card:
    """A GPU that is none: every tensor counts as being on it.

    Attributes:
        calls: Kernels in the order in which layers used them, proofs not counted.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.calls: list[Kernel] = []
        self.has(references.varlen_newest)
        monkeypatch.setattr(kernel_state, "STATE", kernel_state.KernelState())
        monkeypatch.setattr(gpu, "STATE", kernel_state.STATE)
        monkeypatch.setattr(entry, "_is_on_gpu", lambda tensor: True)
        for module in (kernel_state, gpu):
            monkeypatch.setattr(module, "find_kernel_device", lambda place: CARD)
        backward = references.efficient_backward
        forward = references.efficient_forward
        stand_ins = {
            Kernel.EFFICIENT: partial(efficient.attend_efficient, forward=forward, backward=backward),
            Kernel.FLEX: partial(gpu.attend_flex, call=references.flex),
        }
        monkeypatch.setattr(gpu, "_ATTEND", gpu._ATTEND | stand_ins)
        attend_with = gpu.find_attention_function

        def watched(kernel: Kernel, place: str, need: Any) -> Any:
            attend = attend_with(kernel, place, need)

            def call(query: Any, key: Any, value: Any, spans: Any, ask: AttentionAsk) -> Any:
                if spans.token_count != sum(trial.LENGTHS):
                    self.calls.append(kernel)
                return attend(query, key, value, spans, ask)

            return call

        monkeypatch.setattr(gpu, "find_attention_function", watched)

    def has(self, varlen: Any = None, **more: Any) -> None:
        takes = frozenset(inspect.signature(varlen).parameters) if varlen else frozenset[str]()
        means = KernelMeans(
            **{"varlen": takes, "efficient": efficient.find_efficient_arguments(), "triton": True, **more}
        )
        for module in (kernel_state, gpu):
            self.monkeypatch.setattr(module, "find_kernel_means", lambda place: means)
        self.monkeypatch.setattr(gpu, "find_torch_varlen", lambda: (varlen, takes))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    yield Card(monkeypatch)


def made(kind: str, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **more})).eval()


def prepared(model: Any, asked: str = "sdpa") -> tuple[CausalObjective, Silent]:
    """The objective as a run on that card prepares it: its ways are tried against plain passes."""
    config = build_config(
        {"training": {"autocast": False}, "model": {"dtype": "float32", "attention": asked}}
    )
    found, voice = CausalObjective(config), Silent()

    class Here(Device):
        torch_name = "cpu"

    here = Here("cuda", capability=CARD.capability)
    found.prepare_way(Setup(model, ROWS, [[0, 1, 2, 3]], config, here, 0, 200, voice))
    return found, voice


SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
MODELS: dict[str, tuple[dict[str, Any], str, Kernel]] = {
    "llama": ({}, "sdpa", Kernel.EFFICIENT),
    "mistral": ({"sliding_window": 8}, "sdpa", Kernel.EFFICIENT),
    "gpt2": ({}, "sdpa", Kernel.EFFICIENT),
    "gemma3_text": (SLIDING, "sdpa", Kernel.EFFICIENT),
    "gemma2": ({**SLIDING, "attn_logit_softcapping": 2.0}, "eager", Kernel.FLEX),
    "gpt_oss": ({**SLIDING, "num_local_experts": 4}, "sdpa", Kernel.FLEX),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_keep_their_losses_and_gradients(kind: str, card: Card) -> None:
    """In float32: caps and sinks, which a processor leaves to eager passes, go through one call a layer."""
    more, asked, kernel = MODELS[kind]
    model = made(kind, **more)
    causal, voice = prepared(model, asked)
    assert causal.way.segments and causal.exact, voice.said
    card.calls.clear()
    with torch.no_grad():
        found = causal.compute_losses(model, causal.lay_batch(ROWS, range(4)), causal.way)
    assert card.calls == [kernel] * SHAPE["num_hidden_layers"]
    assert not attention.take_kernel_warnings()
    with torch.no_grad():
        truth = [
            causal.compute_plain_losses(model, lay_padded_rows(ROWS, [row], 0), causal.way)
            for row in range(4)
        ]
    assert float((torch.cat(truth) - found).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", ["gemma2", "gpt_oss"])
def test_padded_rows_keep_caps_and_sinks(kind: str, card: Card) -> None:
    """Generation calls a model with padded rows, though its attention is the one for segments."""
    model = made(kind, **MODELS[kind][0])
    batch = lay_padded_rows(ROWS, [0, 1, 2], 0)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.no_grad():
        model.set_attn_implementation("eager")
        truth = model(**inputs).logits
        model.set_attn_implementation(attention.NAME)
        found = model(**inputs).logits
    real = batch.attention_mask.bool()
    torch.testing.assert_close(found[real], truth[real], atol=1e-5, rtol=1e-5)
    answer = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    found = model.generate(**inputs, **answer)
    model.set_attn_implementation("eager")
    assert torch.equal(found, model.generate(**inputs, **answer))


PLAIN = AttentionAsk()


def _call(
    ask: AttentionAsk = PLAIN, dtype: torch.dtype = torch.float32, lengths: tuple[int, ...] = (9, 4)
) -> Any:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, sum(lengths), 16).to(dtype) for heads in (4, 2, 2))
    spans = find_attention_spans(list(lengths), None, query.device)
    found = gpu.attend_on_gpu(query, key, value, spans, ask)
    wide = (part.float() for part in (query, key, value))
    tolerance = 2e-5 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(
        found.float(), references.plain(*wide, spans, ask), atol=tolerance, rtol=tolerance
    )
    return found


def test_a_kernel_that_fails_costs_a_warning_and_not_a_run(card: Card) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("undefined symbol: _ZN3c10")

    def wrong(query: Any, key: Any, value: Any, *bounds: Any, **options: Any) -> Any:
        return references.varlen_newest(query, key, value, *bounds, **options) * 1.1

    takes = frozenset(inspect.signature(references.varlen_newest).parameters)
    for function, said in ((broken, "undefined symbol"), (wrong, "differs by 0.1")):
        kernel_state.STATE.__init__()  # type: ignore[misc]
        card.monkeypatch.setattr(gpu, "find_torch_varlen", partial(lambda *found: found, function, takes))
        card.calls.clear()
        for _unused in range(3):
            _call(dtype=torch.bfloat16)
        assert card.calls == [Kernel.EFFICIENT] * 3
        (notice,) = attention.take_kernel_warnings()
        assert said in notice and notice.startswith("torch varlen_attn")
        assert not attention.take_kernel_warnings()


def test_a_kernel_whose_gradients_are_wrong_is_not_taken(card: Card) -> None:
    def halved(query: Any, key: Any, value: Any, *bounds: Any, **options: Any) -> Any:
        found = references.varlen_newest(query, key, value, *bounds, **options)
        return found.detach() + (found - found.detach()) / 2

    takes = frozenset(inspect.signature(references.varlen_newest).parameters)
    card.monkeypatch.setattr(gpu, "find_torch_varlen", lambda: (halved, takes))
    _call(dtype=torch.bfloat16)
    assert card.calls == [Kernel.EFFICIENT] and len(attention.take_kernel_warnings()) == 1


def test_one_that_fails_later_gives_way_too(card: Card) -> None:
    def fails_for_long_rows(query: Any, *rest: Any, **options: Any) -> Any:
        if len(query) > 150:
            raise RuntimeError("too many resources requested for launch")
        return references.varlen_newest(query, *rest, **options)

    takes = frozenset(inspect.signature(references.varlen_newest).parameters)
    card.monkeypatch.setattr(gpu, "find_torch_varlen", lambda: (fails_for_long_rows, takes))
    _call(dtype=torch.bfloat16)
    _call(dtype=torch.bfloat16, lengths=(200,))
    _call(dtype=torch.bfloat16)
    assert card.calls == [Kernel.VARLEN, Kernel.VARLEN, Kernel.EFFICIENT, Kernel.EFFICIENT]
    assert len(attention.take_kernel_warnings()) == 1


def test_one_that_fails_in_training_is_told_of_at_the_next_report(card: Card) -> None:
    sink = Recorder()
    loop: Any = SimpleNamespace(reports=SimpleNamespace(flush_steps=list), reporter=Reporter(sink))
    kernel_state.STATE.exclude_kernel(Kernel.VARLEN, "too many resources requested for launch")
    for _unused in range(2):
        Loop._flush_reports(loop)
    (warning,) = sink.of("warning")
    assert warning["code"] == "attention" and "too many resources" in warning["message"]


def test_memory_that_runs_out_is_no_fault_of_a_kernel(card: Card) -> None:
    def hungry(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    _call(dtype=torch.bfloat16)
    card.monkeypatch.setattr(gpu, "find_torch_varlen", lambda: (hungry, frozenset({"window_size", "scale"})))
    with pytest.raises(torch.OutOfMemoryError):
        _call(dtype=torch.bfloat16)
    assert not attention.take_kernel_warnings()


@pytest.mark.parametrize("version", [references.varlen_windows, references.varlen_oldest])
def test_older_versions_are_adapted(version: Any, card: Card) -> None:
    card.has(version)
    _call(AttentionAsk(scaling=0.3), torch.bfloat16)
    assert card.calls == [Kernel.VARLEN] and not attention.take_kernel_warnings()
    (used,) = attention.list_used_kernels()
    assert used.kernel == "torch varlen_attn" and "enable_gqa" in used.why


def test_groups_that_an_older_version_knows_without_saying_so_are_not_repeated(card: Card) -> None:
    def knows(
        query: Any, key: Any, value: Any, *bounds: Any, scale: Any = None, window_size: Any = None
    ) -> Any:
        heads.append(key.shape[1])
        options = {"scale": scale, "window_size": window_size, "enable_gqa": True}
        return references.varlen_newest(query, key, value, *bounds, **options)

    heads: list[int] = []
    card.has(knows)
    _call(dtype=torch.bfloat16)
    assert card.calls == [Kernel.VARLEN] and set(heads) == {2}
    assert "enable_gqa" not in attention.list_used_kernels()[0].why


def test_rivals_are_measured_and_the_faster_one_is_taken(card: Card) -> None:
    flash = references.flash_attn_varlen_func
    card.has(references.varlen_newest, flash=frozenset(inspect.signature(flash).parameters))
    card.monkeypatch.setattr(gpu.means, "load_flash_function", lambda device: flash)
    timed: list[list[Kernel]] = []

    def times(kernels: Any, *_: Any) -> dict[Kernel, float]:
        timed.append(list(kernels))
        return {Kernel.VARLEN: 1.0, Kernel.FLASH: 0.5}

    card.monkeypatch.setattr(gpu, "time_kernels", times)
    for _unused in range(2):
        _call(dtype=torch.bfloat16)
    assert card.calls == [Kernel.FLASH] * 2 and timed == [[Kernel.VARLEN, Kernel.FLASH]]
    assert "0.50 ms" in attention.list_used_kernels()[0].why

    def fails(*_: Any) -> Any:
        raise RuntimeError("no events here")

    card.monkeypatch.setattr(gpu, "time_kernels", fails)
    kernel_state.STATE.chosen.clear()
    _call(dtype=torch.bfloat16)
    assert card.calls[-1] is Kernel.VARLEN

    order = [Kernel.VARLEN, Kernel.FLASH]
    assert trial.pick_fastest_kernel({Kernel.VARLEN: 1.0, Kernel.FLASH: 0.99}, order) is Kernel.VARLEN
    assert trial.pick_fastest_kernel({Kernel.VARLEN: 1.0, Kernel.FLASH: 0.9}, order) is Kernel.FLASH


def test_memory_that_runs_out_in_a_proof_breaks_nothing(card: Card) -> None:
    def hungry(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    card.monkeypatch.setattr(gpu, "find_torch_varlen", lambda: (hungry, frozenset({"window_size", "scale"})))
    with pytest.raises(torch.OutOfMemoryError):
        _call(dtype=torch.bfloat16)
    assert not kernel_state.STATE.broken and not attention.take_kernel_warnings()


def test_a_repeatable_run_takes_no_part_in_trials(card: Card) -> None:
    flash = references.flash_attn_varlen_func
    card.has(references.varlen_newest, flash=frozenset(inspect.signature(flash).parameters))
    torch.use_deterministic_algorithms(True)
    try:
        _call(dtype=torch.bfloat16)
    finally:
        torch.use_deterministic_algorithms(False)
    assert card.calls == [Kernel.VARLEN]


def test_a_trial_leaves_recomputation_and_random_numbers_alone(card: Card) -> None:
    """The first use may be inside a checkpointed layer, which counts the tensors that are kept for it."""
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, 13, 16, requires_grad=True) for _unused in range(3))
    spans = find_attention_spans([9, 4], None, query.device)
    before = torch.get_rng_state()

    def layer(q: Any, k: Any, v: Any) -> Any:
        return gpu.attend_on_gpu(q, k, v, spans, AttentionAsk())

    found = checkpoint(layer, query, key, value, use_reentrant=False)
    gradients = torch.autograd.grad(found.square().sum(), (query, key, value))
    truth = references.plain(query, key, value, spans, AttentionAsk())
    for one, other in zip(
        gradients, torch.autograd.grad(truth.square().sum(), (query, key, value)), strict=True
    ):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)
    assert torch.equal(before, torch.get_rng_state())
    assert card.calls == [Kernel.EFFICIENT] * 2 and not attention.take_kernel_warnings()


def test_a_trial_on_the_way_back_begins_no_thread(card: Card) -> None:
    """Autograd has one thread for each GPU: a trial in another would wait for it, and it for the trial."""
    from torch.utils.checkpoint import checkpoint

    tensors = [torch.randn(1, 4, 13, 16, dtype=torch.bfloat16, requires_grad=True) for _unused in range(3)]
    spans = find_attention_spans([9, 4], None, tensors[0].device)
    begun: list[str] = []
    start = threading.Thread.start

    def forget() -> None:
        """As after a failure: the kernel is proved anew where a layer is computed again."""
        kernel_state.STATE.__init__()  # type: ignore[misc]
        card.monkeypatch.setattr(
            threading.Thread, "start", lambda thread: (begun.append(thread.name), start(thread))
        )

    def layer(*parts: Any) -> Any:
        if torch._C._current_graph_task_id() != -1:
            forget()
        return gpu.attend_on_gpu(*parts, spans, AttentionAsk())

    found = checkpoint(layer, *tensors, use_reentrant=False)
    gradients = torch.autograd.grad(found.square().sum(), tensors)
    wide = [one.detach().float().requires_grad_() for one in tensors]
    truth = torch.autograd.grad(references.plain(*wide, spans, AttentionAsk()).square().sum(), wide)
    for one, other in zip(gradients, truth, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.1, rtol=0.1)
    assert not begun and len(kernel_state.STATE.proved) == 1 and not attention.take_kernel_warnings()


def test_what_fails_for_one_need_stays_chosen_for_others(card: Card) -> None:
    _call(dtype=torch.bfloat16)
    before = dict(kernel_state.STATE.chosen)
    (_place, need), (kernel, _said) = next(iter(before.items()))
    kernel_state.STATE.exclude_kernel(kernel, "no windows", replace(need, window=True))
    assert kernel_state.STATE.chosen == before
    kernel_state.STATE.exclude_kernel(kernel, "undefined symbol")
    assert not kernel_state.STATE.chosen


def test_a_package_that_cannot_be_loaded_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.compute.attention import means

    def broken(device: Device) -> Any:
        raise ImportError("libcudart.so.11: cannot open shared object file")

    monkeypatch.setattr(means, "load_flash_function", broken)
    known = kernel_state.KernelState()
    for _unused in range(2):
        found = means.find_attention_means(
            replace(CARD, has_flash=True), lambda kernel, error: known.exclude_kernel(kernel, str(error))
        )
        assert not found.flash
    assert len(known.notices) == 1 and "libcudart" in known.notices[0]


def test_flex_attention_compiles_once_for_all_lengths() -> None:
    """Compiled inside a call that is not, as layers are; the compiler's own graph, run plainly."""
    from torch._dynamo.testing import CompileCounterWithBackend
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(flex_attention, dynamic=True, backend=counter)

    @torch.compiler.disable
    def layer(*arguments: Any) -> Any:
        return gpu.attend_flex(*arguments, compiled)

    for lengths in ((130, 7), (300,), (5, 90, 140, 77)):
        torch.manual_seed(0)
        query, key, value = (torch.randn(1, heads, sum(lengths), 16) for heads in (4, 2, 2))
        for ask in (AttentionAsk(softcap=2.0, window=30),):
            with torch.no_grad():
                spans = find_attention_spans(list(lengths), None, query.device)
                found = layer(query, key, value, spans, ask)
                torch.testing.assert_close(
                    found, references.plain(query, key, value, spans, ask), atol=2e-5, rtol=2e-5
                )
    assert 0 < counter.frame_count <= 2
    torch._dynamo.reset()
