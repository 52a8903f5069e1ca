"""A program may end while a daemon thread of it is in a call."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading, time
import numpy as np
from pcsr import Upscaler

upscaler = Upscaler(sys.argv[1], backend=sys.argv[2])
image = np.zeros((120, 160, 3), np.uint8)
upscaler(image)

def work():
    while True:
        upscaler(image)

threading.Thread(target=work, daemon=True).start()
time.sleep(float(sys.argv[3]))
"""


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.15])
def test_the_end_waits_for_a_daemon_thread(
    backend: str, seconds: float, carn_like_bundle: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(carn_like_bundle), backend, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


NESTED = """
import threading, time
from pcsr.runtime.shutdown import _calls, foreign_call

begun = threading.Event()

def work():
    with foreign_call():
        begun.set()
        while not _calls.closed:
            time.sleep(0.001)
        with foreign_call():
            print("went on", flush=True)

threading.Thread(target=work, daemon=True).start()
begun.wait()
"""


def test_a_call_within_a_call_goes_on_while_the_end_waits_for_it() -> None:
    command = [sys.executable, "-c", NESTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
