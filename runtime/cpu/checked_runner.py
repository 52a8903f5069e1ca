"""The runner that stands in front of every other: what it gives was checked."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.runtime.graph_outputs import GraphOutputs
from pcsr.runtime.process.cancellation import Cancellation

from .pipeline import FloatArray, Runner, cuts_exactly


class CheckedRunner:
    """Runs graphs with another runner, and raises BundleError where the results are not what the
    bundle's manifest promises: compiled code reads them.
    """

    def __init__(self, runner: Runner, bundle: Bundle, precision: str) -> None:
        self._runner, self._expected = runner, GraphOutputs(bundle, precision)
        self.cuts_exactly = cuts_exactly(runner)

    def run_image(
        self,
        role: str,
        image: FloatArray,
        outputs: Sequence[str],
        cancellation: Cancellation | None = None,
    ) -> list[FloatArray]:
        size = image.shape[2], image.shape[3]
        self._expected.foresee(size)
        values = self._runner.run_image(role, image, outputs, cancellation)
        self._expected.check_image(size, outputs, values)
        return values

    def run_rows(self, role: str, inputs: dict[str, NDArray[Any]]) -> FloatArray:
        values = self._runner.run_rows(role, inputs)
        self._expected.check_rows(role, len(inputs["index"]), values)
        return values
