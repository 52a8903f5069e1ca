"""Many clients at once, more than the server takes, and clients that do not wait."""

import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from pcsr import Upscaler

from .client import Client, pixels_of, sent
from .serving import Serving, serving, write_repository

Upscalers = dict[str, Upscaler]
SIZES = [(1, 1), (16, 300), (48, 48), (64, 64), (90, 160), (200, 120)]
SECONDS = 24.0
SLOW = pixels_of((500, 600), seed=9)  # takes a second or so


@pytest.fixture(scope="module")
def narrow(bundles: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that takes four requests at once."""
    folder = tmp_path_factory.mktemp("narrow")
    models = folder / "models"
    write_repository({"few": bundles["two"]}, models, "--max-pending=4")
    with serving(models, folder / "log") as running:
        yield running


def counted(server: Serving, outcome: str) -> int:
    values = server.read_metrics("pcsr_requests_total")
    return round(sum(n for labels, n in values.items() if f'outcome="{outcome}"' in labels))


def wait_for(check: Callable[[], bool], seconds: float = 20) -> None:
    """A request is counted a moment after it was answered."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_four_clients(server: Serving, upscalers: Upscalers) -> None:
    """They ask two models for images of all sizes for a while: each answer is right, none is lost,
    and the models' processes do not grow.
    """
    images = [pixels_of(size, seed=n) for n, size in enumerate(SIZES)]
    expected = [upscalers["three"](image, adaptive=True).image for image in images]
    wrong: queue.SimpleQueue[str] = queue.SimpleQueue()
    done = [0] * 4
    end = time.monotonic() + SECONDS

    def ask(number: int) -> None:
        kind = ("http", "grpc")[number % 2]
        client, chosen = Client(kind, getattr(server, kind)), random.Random(number)
        try:
            while time.monotonic() < end:
                n = chosen.randrange(len(images))
                found = client("three", sent(images[n], adaptive=True), ["RESULT"])["RESULT"]
                done[number] += 1
                if not np.array_equal(found, expected[n]):
                    wrong.put(f"image {n} differs")
        except Exception as error:
            wrong.put(repr(error))
        finally:
            client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    before = counted(server, "ok")
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 3)
    early = server.memory_kib()
    for thread in threads:
        thread.join()
    late = server.memory_kib()
    assert wrong.empty(), wrong.get()
    assert min(done) > 10, done
    wait_for(lambda: counted(server, "ok") - before == sum(done))
    assert late - early < 24 * 1024, (early, late, done)


def test_more_than_the_bound_is_refused(narrow: Serving, upscalers: Upscalers) -> None:
    """At once and as UNAVAILABLE, so that a load balancer asks another; the rest is answered."""
    client = Client("grpc", narrow.grpc)
    image = SLOW[:200, :300]
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    for _ in range(40):
        client.client.async_infer(
            "few", client.inputs(sent(image)), lambda result, error: answers.put((result, error))
        )
    all_answers = [answers.get(timeout=60) for _ in range(40)]
    errors = [error for _, error in all_answers if error is not None]
    results = [result for result, _ in all_answers if result is not None]
    assert len(errors) + len(results) == 40
    assert len(results) >= 4
    assert len(errors) >= 10
    for error in errors:
        assert error.status() == "StatusCode.UNAVAILABLE"
        assert "requests are pending already; try again later" in error.message()
    expected = upscalers["two"](image).image
    for result in results:
        assert np.array_equal(result.as_numpy("RESULT"), expected)
    wait_for(lambda: counted(narrow, "refused") == len(errors))
    assert np.array_equal(client("few", sent(image))["RESULT"], expected)
    client.close()


def test_a_refusal_over_http_is_503(narrow: Serving) -> None:
    client = Client("http", narrow.http)
    waiting = [client.client.async_infer("few", client.inputs(sent(SLOW))) for _ in range(8)]
    codes = set()
    for one in waiting:
        try:
            one.get_result()
        except InferenceServerException as error:
            codes.add(error.status())
    assert codes == {"503"}
    client.close()


def test_a_deadline(client: Client, server: Serving) -> None:
    before = counted(server, "cancelled")
    start = time.monotonic()
    with pytest.raises(InferenceServerException, match="deadline"):
        client("two", sent(SLOW, timeout_ms=5.0))
    assert time.monotonic() - start < 5
    wait_for(lambda: counted(server, "cancelled") == before + 1)


def test_a_request_that_is_cancelled(grpc: Client, server: Serving) -> None:
    """The model stops computing it, and is free for others."""
    before = counted(server, "cancelled")
    errors: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def answered(result: Any, error: Any) -> None:  # noqa: ANN401
        errors.put(error)

    calls = [grpc.client.async_infer("two", grpc.inputs(sent(SLOW)), answered) for _ in range(3)]
    time.sleep(0.2)
    for call in calls:
        call.cancel()
    assert [errors.get(timeout=10).status() for _ in calls] == ["StatusCode.CANCELLED"] * 3
    wait_for(lambda: counted(server, "cancelled") == before + 3)
    assert grpc("two", sent(SLOW[:8, :8]))["RESULT"].shape == (32, 32, 3)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_client_that_goes_away(server: Serving, http: Client, share: float) -> None:
    """In the middle of its request, or before the answer."""
    body = SLOW.tobytes()
    head = (
        '{"inputs":[{"name":"IMAGE","datatype":"UINT8","shape":[500,600,3],'
        f'"parameters":{{"binary_data_size":{len(body)}}}}}]}}'
    ).encode()
    lines = [
        "POST /v2/models/two/infer HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(head) + len(body)}",
        f"Inference-Header-Content-Length: {len(head)}",
    ]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.http)) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + head)
            connection.sendall(body[: round(share * len(body))])
    assert http("two", sent(SLOW[:8, :8]))["RESULT"].shape == (32, 32, 3)
    assert len(server.model_pids) == len(list(server.models.iterdir()))


def test_nothing_is_pending_at_the_end(server: Serving) -> None:
    wait_for(lambda: not sum(server.read_metrics("pcsr_pending_requests").values()), 60)
    assert sum(server.read_metrics("pcsr_pending_bytes").values()) == 0


def test_metrics(server: Serving, http: Client) -> None:
    def read(name: str, part: str = "") -> float:
        found = server.read_metrics(name).items()
        return sum(n for labels, n in found if 'model="calibrated"' in labels and part in labels)

    names = ("pcsr_input_pixels_total", "pcsr_output_pixels_total", "pcsr_heavy_pixels_total")
    before = [read(name) for name in names]
    image = pixels_of((30, 40))
    http("calibrated", sent(image, heavy_ratio=0.25))
    http("calibrated", sent(image, budget_ms=10_000.0), ["HEAVY_SHARE"])
    wait_for(lambda: read("pcsr_requests_total", 'outcome="ok"') == 2)
    after = [read(name) for name in names]
    assert after[0] - before[0] == 2 * 1200
    assert after[1] - before[1] == 2 * 1200 * 16
    assert after[2] > before[2]
    assert read("pcsr_budgets_total", 'outcome="kept"') == 1
    with pytest.raises(InferenceServerException):
        http("calibrated", sent(image, k=float("nan")))
    wait_for(lambda: read("pcsr_requests_total", 'outcome="invalid"') == 1)
    for stage in ("queue", "compute"):
        assert read("pcsr_stage_seconds_count", f'stage="{stage}"') == 2


def test_an_operator_reads_the_log(server: Serving) -> None:
    """Bad requests and clients that left are no errors of the server."""
    lines = Path(server.log).read_text().splitlines()
    assert [line for line in lines if line.startswith("E") and "pcsr" in line] == []
    assert any(line.startswith("serving ") for line in lines)
