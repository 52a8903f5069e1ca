"""TRITON_INTERPRET must be set before Triton is first imported, and tests that compile need it
unset: these tests run in processes of their own, which `tests/runtime/test_kernels.py` starts. By
hand: `TRITON_INTERPRET=1 pytest tests/runtime/kernels`, or 0 for those that compile.
"""

import os

_MODE = os.environ.get("TRITON_INTERPRET")
_IGNORED = {"1": "test_compilation*.py", "0": "test_[!c]*.py"}.get(_MODE or "", "test_*.py")
collect_ignore_glob = [_IGNORED, f"convolutions/{_IGNORED}"]

if _MODE == "1":
    from benchmarks.device.interpreter import repair

    repair()
