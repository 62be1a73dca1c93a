"""The memory trace: asks a helper process to trace the installed libraries, and compares with the ledger."""

from __future__ import annotations

from tui_tuner.errors import RunError
from tui_tuner.launch.helper import Helper, Request
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.locales import _
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.trace import Check, check, request_for, untraceable

OPERATION = "trace"


class Tracer:
    """Checks setups against traces. Close it, or use `with`.

    Args:
        seconds: After so long without an answer, a trace is given up.
        helper: The helper to ask, which stays open; None for one of its own.
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
        """Give up traces under way, and end the tracing process."""
        for request in tuple(self._requests):
            request.cancel()
        if self._own:
            self.helper.close()
        else:
            self.helper.rest(OPERATION)

    def check(self, setup: Setup) -> Check:
        """Trace a setup.

        Raises:
            RunError: the settings cannot be traced (see `untraceable`), or it failed.
            Cancelled: closed meanwhile.
        """
        refusal = untraceable(setup)
        if refusal:
            raise RunError(_("cannot be traced: {refusal}.", refusal=refusal), where="memory")
        request = self.helper.request(OPERATION, request_for(setup), seconds=self.seconds)
        self._requests.add(request)
        try:
            return check(setup, request.wait())
        except ProcessEnded as error:
            hint = f"{_('The computed figure remains unchecked.')} {error.hint}".strip()
            raise RunError(_("the trace: {what}", what=error.what), where="memory", hint=hint) from None
        finally:
            self._requests.discard(request)
