"""Ways to have an image upscaled, each a function that makes one call and checks its result."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

Call = Callable[[], Any]
Opening = Callable[[ExitStack, int], Call]
"""Makes the call of one client, of a number; what it opens is closed with the stack."""


def by_client(module: Any, address: str, model: str, image: NDArray[np.uint8]) -> Opening:  # noqa: ANN401
    """Sends and receives pixels by HTTP or gRPC. module: tritonclient.http or tritonclient.grpc."""

    def opened(stack: ExitStack, _number: int) -> Call:
        client = module.InferenceServerClient(address)
        stack.callback(client.close)
        picture = module.InferInput("IMAGE", list(image.shape), "UINT8")
        picture.set_data_from_numpy(image)
        outputs = [module.InferRequestedOutput("RESULT")]
        return lambda: client.infer(model, [picture], outputs=outputs).as_numpy("RESULT")

    return opened


def by_shared_memory(
    module: Any,  # noqa: ANN401
    address: str,
    model: str,
    image: NDArray[np.uint8],
    result_shape: tuple[int, ...],
) -> Opening:
    """Leaves both images in system shared memory, a region for each client."""
    from tritonclient.utils import shared_memory

    sizes = (image.nbytes, int(np.prod(result_shape)))

    def opened(stack: ExitStack, number: int) -> Call:
        client, name = module.InferenceServerClient(address), f"pcsr_benchmark_{number}"
        stack.callback(client.close)
        region = shared_memory.create_shared_memory_region(name, f"/{name}", sum(sizes))
        stack.callback(shared_memory.destroy_shared_memory_region, region)
        shared_memory.set_shared_memory_region(region, [image])
        client.register_system_shared_memory(name, f"/{name}", sum(sizes))
        stack.callback(unregister, client, name)
        picture = module.InferInput("IMAGE", list(image.shape), "UINT8")
        picture.set_shared_memory(name, sizes[0])
        output = module.InferRequestedOutput("RESULT")
        output.set_shared_memory(name, sizes[1], offset=sizes[0])

        def call() -> NDArray[np.uint8]:
            client.infer(model, [picture], outputs=[output])
            found: NDArray[np.uint8] = shared_memory.get_contents_as_numpy(
                region, np.uint8, list(result_shape), offset=sizes[0]
            )
            return found

        return call

    return opened


def unregister(client: Any, name: str) -> None:  # noqa: ANN401
    """Lets the server forget a region, which it calls in use for a moment after its last answer."""
    from tritonclient.utils import InferenceServerException

    for _ in range(100):
        try:
            client.unregister_system_shared_memory(name)
            return
        except InferenceServerException:
            sleep(0.05)
    client.unregister_system_shared_memory(name)


def latencies_ms(opening: Opening, clients: int, seconds: float) -> tuple[list[float], float]:
    """Lets so many clients call one after the other for a while, all at once.

    Returns:
        The milliseconds of each call, and the seconds from the first call to the end of the last.
    """
    found: list[list[float]] = [[] for _ in range(clients)]
    failed: list[Exception] = []
    together = threading.Barrier(clients + 1)

    def run(number: int) -> None:
        try:
            with _opened(opening, number) as call:
                together.wait()
                end = perf_counter() + seconds
                while (start := perf_counter()) < end:
                    call()
                    found[number].append(1000 * (perf_counter() - start))
        except Exception as error:
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        together.wait()
    except threading.BrokenBarrierError:
        raise failed[0] from None
    start = perf_counter()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [ms for one in found for ms in one], perf_counter() - start


@contextmanager
def _opened(opening: Opening, number: int) -> Iterator[Call]:
    with ExitStack() as stack:
        call = opening(stack, number)
        call()
        yield call
