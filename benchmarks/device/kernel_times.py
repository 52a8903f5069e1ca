"""The time of every kernel of a frame, by name, from PyTorch's profiler."""

from collections.abc import Iterator
from functools import partial

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.callers import open_caller
from benchmarks.contenders import MODES, pcsr_implementations
from benchmarks.image import Image
from benchmarks.records import Record
from pcsr.runtime.profiler.measuring.calls import Caller
from pcsr.runtime.profiler.measuring.rounds import reason

from .measure import DeviceSetting

MODE = "ADM"
WARM_UPS, FRAMES = 3, 5


def kernel_records(setting: DeviceSetting, image: Image, quick: bool) -> Iterator[Record]:
    """Makes one record of the fused passes, recorded as users run them: `kernels` lists name, calls
    and milliseconds per frame, the longest first; `tiles` says which tiles were tried and chosen.
    """
    implementation = pcsr_implementations()[0]
    facts = {"path": f"{implementation.label}, {MODE}", "ours": True, "error": None}
    facts |= {"lr_size": [*image.shape[:2]]}

    def step() -> Record:
        caller = open_caller(implementation, setting.files, setting.place())
        times = kernel_times(caller, image, setting.device, 1 if quick else FRAMES)
        return {"kernels": times, "tiles": _tiles(setting.device)}

    try:
        yield facts | setting.guard(f"kernels, {implementation.label}", step)
    except Exception as error:  # of the profiler, or of the path: it is the result
        yield facts | {"error": reason(error)}


def kernel_times(caller: Caller, image: Image, device: torch.device, frames: int) -> list[Record]:
    """Profiles some frames behind those that warm up; on the CPU it lists operators."""
    is_cuda = device.type == "cuda"
    given = torch.from_numpy(image).to(device) if is_cuda else image
    call = partial(caller, given, MODES[MODE])
    for _ in range(WARM_UPS if is_cuda else 1):
        call()
    kind = ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU
    with profile(activities=[kind], acc_events=True) as found:
        for _ in range(frames):
            call()
        if is_cuda:
            torch.cuda.synchronize(device)
    wanted = DeviceType.CUDA if is_cuda else DeviceType.CPU
    rows = [
        {
            "name": event.key,
            "calls": event.count / frames,
            "ms": (event.self_device_time_total if is_cuda else event.self_cpu_time_total)
            / (1000 * frames),
        }
        for event in found.key_averages()
        if event.device_type == wanted
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _tiles(device: torch.device) -> list[str]:
    if device.type != "cuda":
        return []
    from pcsr.runtime.kernels import chosen_tiles

    return chosen_tiles()
