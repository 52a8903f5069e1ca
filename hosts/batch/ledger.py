"""Counts on the cluster how often work was begun: what kills its worker again and again is given
up.
"""

from collections import Counter
from typing import Any

MOST_ATTEMPTS = 3
"""How often one image may kill its worker."""


class Ledger:
    """What all workers of a job tell, as an actor of the cluster beside its driver.

    Examples:
        >>> from pcsr.batch.ledger import Ledger
        >>> ledger = Ledger()
        >>> ledger.begin("batch 7"), ledger.begin("batch 7")
        (1, 2)
    """

    def __init__(self) -> None:
        self._begun = Counter[str]()
        self._finished: dict[str, Any] = {}

    def begin(self, name: str) -> int:
        """Counts that work begins; gives how often it did."""
        self._begun[name] += 1
        return self._begun[name]

    def finish(self, name: str, result: Any) -> None:  # noqa: ANN401
        """Keeps what came out, for a worker that is handed the same again."""
        self._finished[name] = result

    def finished(self, name: str) -> Any:  # noqa: ANN401
        """Gives what came out; None where it has not ended."""
        return self._finished.get(name)
