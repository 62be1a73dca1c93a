"""Traces memory with the installed libraries in a helper process, and compares it with the ledger."""

from __future__ import annotations

from tui_tuner.errors import RunError
from tui_tuner.launch.helper import Helper, Request
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.locales import _
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.trace_check import Check, check_trace, explain_untraceable, make_trace_request

OPERATION = "trace"


class Tracer:
    """Checks memory estimates against traces. Close it or use `with`.

    Args:
        seconds: Time limit for a trace.
        helper: A helper to use, which stays open; None to create one.
    """

    def __init__(self, seconds: float = 120.0, helper: Helper | None = None) -> None:
        self.seconds = seconds
        self.helper = helper or Helper()
        self._own = helper is None
        self._requests: set[Request] = set()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel running traces, and end the tracing process."""
        # A copy, as each request removes itself when it ends
        for request in tuple(self._requests):
            request.cancel()
        if self._own:
            self.helper.close()
        else:
            self.helper.end_when_idle(OPERATION)

    def check_setup(self, setup: Setup) -> Check:
        """Trace a setup, and compare it with its estimate.

        Raises:
            RunError: the settings cannot be traced (see `explain_untraceable`), or the trace failed.
            Cancelled: closed while waiting.
        """
        refusal = explain_untraceable(setup)
        if refusal:
            raise RunError(_("cannot be traced: {refusal}.", refusal=refusal), where="memory")
        request = self.helper.prepare_request(OPERATION, make_trace_request(setup), seconds=self.seconds)
        self._requests.add(request)
        try:
            return check_trace(setup, request.wait_for_result())
        except ProcessEnded as error:
            hint = f"{_('The estimate remains unchecked.')} {error.hint}".strip()
            raise RunError(_("the trace: {what}", what=error.what), where="memory", hint=hint) from None
        finally:
            self._requests.discard(request)
