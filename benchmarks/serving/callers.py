"""Ways to have an image upscaled, each a function that makes one call and checks its result."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Reading = Callable[[], NDArray[np.uint8]]
Call = Callable[[], Reading]
"""Makes one call; gives what reads its result, where that lies elsewhere still."""
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

        def call() -> Reading:
            found = client.infer(model, [picture], outputs=outputs).as_numpy("RESULT")
            return lambda: found

        return call

    return opened


def by_shared_memory(
    client_module: Any,  # noqa: ANN401
    address: str,
    model: str,
    image: NDArray[np.uint8],
    result_shape: tuple[int, ...],
    memory: "Memory",
) -> Opening:
    """Leaves both images in shared memory, a region of each for each client. `client_module`:
    tritonclient.grpc.
    """
    sizes = (image.nbytes, int(np.prod(result_shape)))

    def opened(stack: ExitStack, number: int) -> Call:
        client = client_module.InferenceServerClient(address)
        stack.callback(client.close)
        given, result = (
            memory.region(stack, client, f"pcsr_benchmark_{number}_{n}", size)
            for n, size in enumerate(sizes)
        )
        memory.module.set_shared_memory_region(given.handle, [image])
        picture = client_module.InferInput("IMAGE", list(image.shape), "UINT8")
        picture.set_shared_memory(given.name, sizes[0])
        output = client_module.InferRequestedOutput("RESULT")
        output.set_shared_memory(result.name, sizes[1])

        def read() -> NDArray[np.uint8]:
            shape = list(result_shape)
            contents = memory.module.get_contents_as_numpy(result.handle, np.uint8, shape)
            return np.array(contents)

        def call() -> Reading:
            client.infer(model, [picture], outputs=[output])
            return read

        return call

    return opened


class Region(NamedTuple):
    """A piece of shared memory that the server knows."""

    name: str
    handle: Any


class Memory:
    """System shared memory."""

    def __init__(self) -> None:
        from tritonclient.utils import shared_memory

        self.module: Any = shared_memory

    def region(self, stack: ExitStack, client: Any, name: str, size: int) -> Region:  # noqa: ANN401
        """Makes a region, until the stack ends."""
        handle = self.module.create_shared_memory_region(name, f"/{name}", size)
        stack.callback(self.module.destroy_shared_memory_region, handle)
        client.register_system_shared_memory(name, f"/{name}", size)
        stack.callback(unregister, client.unregister_system_shared_memory, name)
        return Region(name, handle)


class CudaMemory(Memory):
    """Memory of the first GPU, where images stay."""

    def __init__(self) -> None:
        from tritonclient.utils import cuda_shared_memory

        self.module = cuda_shared_memory

    def region(self, stack: ExitStack, client: Any, name: str, size: int) -> Region:  # noqa: ANN401
        handle = self.module.create_shared_memory_region(name, size, 0)
        stack.callback(self.module.destroy_shared_memory_region, handle)
        raw = self.module.get_raw_handle(handle)
        client.register_cuda_shared_memory(name, raw, 0, size)
        stack.callback(unregister, client.unregister_cuda_shared_memory, name)
        return Region(name, handle)


def unregister(call: Callable[[str], Any], name: str) -> None:
    """Lets the server forget a region, which it calls in use for a moment after its last answer."""
    from tritonclient.utils import InferenceServerException

    for _ in range(100):
        try:
            call(name)
            return
        except InferenceServerException:
            sleep(0.05)
    call(name)


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
