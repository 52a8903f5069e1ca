"""What a calibration has computed so far, beside the bundle, so that the same command goes on."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcsr.atomic import atomic_file


class WorkFile:
    """A JSON file of answers by question, `.NAME.pcsr-calibrate-KEY.json` beside the bundle.

    identity: everything that the answers depend on. Answers of another identity are not seen.
    """

    def __init__(self, bundle: Path, identity: Any) -> None:  # noqa: ANN401
        text = json.dumps(identity, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        whole = bundle.resolve()
        self.path = whole.parent / f".{whole.name}.pcsr-calibrate-{key[:16]}.json"
        self._answers: dict[str, Any] = self._read()
        self.resumed = len(self._answers)

    def answer(self, question: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What was computed before, else what `compute` gives now (JSON values), which is kept."""
        if question not in self._answers:
            self._answers[question] = compute()
            with atomic_file(self.path, overwrite=True) as temporary:
                temporary.write_text(json.dumps(self._answers), encoding="utf-8")
        return self._answers[question]

    def remove(self) -> None:
        """The calibration is done."""
        with suppress(OSError):
            self.path.unlink()

    def _read(self) -> dict[str, Any]:
        try:
            answers = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return answers if isinstance(answers, dict) else {}
