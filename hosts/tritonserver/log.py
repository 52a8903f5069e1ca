"""What an operator has to know out of a tritonserver's log."""

import re
import signal
from collections.abc import Callable

_LOADED = re.compile(r"successfully loaded '([^']+)'")
_FAILED = re.compile(
    r"(?:failed to load(?: model)?|Poll failed for model directory) '([^']+)'(?: version \d+)?: "
    r"(.+)"
)
_WORDS = re.compile(r"^(?:(?:Internal|Invalid argument|TritonModelException)(?:: | - ))+")
_TRACE = "\\n\\nAt:\\n"
_KILLED = {
    "SIGKILL": "by the system, for want of memory, or by someone",
    **dict.fromkeys(("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"), "a fault of Triton"),
}
_READY = ("Started HTTPService at", "Started GRPCInferenceService at")


class Log:
    """Reads the lines of the log.

    Args:
        ready: called once, when the server takes requests.
    """

    def __init__(self, ready: Callable[["Log"], None]) -> None:
        self.loaded: list[str] = []
        """Names of the models that were loaded."""
        self.failed: dict[str, str] = {}
        """Why models were not, by their names."""
        self.dead = False
        """Whether a model's Python process died."""
        self._ready = ready
        self._waits_for = set(_READY)

    def read(self, line: str) -> None:
        """Takes a line."""
        if found := _LOADED.search(line):
            self.loaded.append(found[1])
        elif found := _FAILED.search(line):
            self.failed[found[1]] = _reason(found[2])
        elif starts := {start for start in self._waits_for if start in line}:
            self._waits_for -= starts
            if not self._waits_for:
                self._ready(self)

    def why(self, code: int) -> str | None:
        """Says in one line why the server ended; None where it was asked to."""
        if self.dead:
            return (
                "a model's Python process died (killed, out of memory, or crashed), and the server "
                "was ended, as it does not start such a process again; start it again"
            )
        if code == 0:
            return None
        if self.failed and self._waits_for:  # once it is ready, it serves without them
            reasons = "; ".join(f"model {name}: {why}" for name, why in self.failed.items())
            return f"the server ended with {code}: {reasons}"
        if name := _signal(code):
            why = f" ({_KILLED[name]})" if name in _KILLED else ""
            return f"the server was killed by {name}{why}; start it again"
        return f"the server ended with {code}; its last lines that begin with E say why"


def _signal(code: int) -> str | None:
    """Names the signal of an exit code 128 + N."""
    return next((one.name for one in signal.Signals if one == code - 128), None)


def _reason(text: str) -> str:
    """Gives the sentence of an error, without quotes, kinds and where it was raised."""
    sentence = text.rstrip().removesuffix('"').split(_TRACE)[0].replace("\\n", " ")
    return _WORDS.sub("", sentence.replace('\\"', '"')).strip()
