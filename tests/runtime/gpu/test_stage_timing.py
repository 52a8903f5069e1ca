"""Timers of a CUDA device, with events and NVTX that are made up."""

import pytest
import torch

from pcsr.runtime import timing as host_timing
from pcsr.runtime.gpu import timing
from pcsr.runtime.gpu.timing import EventTimer, NoTimer, make_timer
from pcsr.runtime.timing import Stopwatch, recorded_spans

CUDA = torch.device("cuda")


class Device:
    """Seconds of the device and of the host, and the NVTX ranges that were opened and closed."""

    def __init__(self) -> None:
        self.now_s, self.host_s = 5.0, 100.0
        self.ranges: list[str] = []


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    fake = Device()

    class Event:
        time_s = 0.0

        def record(self) -> None:
            self.time_s = fake.now_s

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, later: "Event") -> float:
            return 1000 * (later.time_s - self.time_s)

    monkeypatch.setattr(timing, "_event", Event)
    for module in (timing, host_timing):
        monkeypatch.setattr(module, "perf_counter", lambda: fake.host_s)
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", fake.ranges.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: fake.ranges.append("end"))
    return fake


def test_events_give_stage_times_and_spans(device: Device) -> None:
    with recorded_spans() as spans:
        timer = EventTimer()
        with timer.host_stage("prepare"):
            device.host_s += 1
        for name, seconds in (("upload", 2), ("backbone", 3), ("upload", 0.5)):
            with timer.stage(name):
                device.now_s += seconds
            device.now_s += 0.25
    assert timer.stage_ms == pytest.approx({"prepare": 1000, "upload": 2500, "backbone": 3000})
    assert timer.stage_ms == timer.stage_ms
    assert timer.total_ms == 1000
    on_device = [(span.name, span.start_s, span.stop_s) for span in spans if span.lane == "device"]
    assert on_device == [
        ("upload", 101, 103),
        ("backbone", 103.25, 106.25),
        ("upload", 106.5, 107),
    ]
    assert [span.name for span in spans if span.lane != "device"] == ["prepare"]


def test_every_stage_is_an_nvtx_range(device: Device) -> None:
    for timer in (EventTimer(), NoTimer()):
        with pytest.raises(KeyError), timer.stage("upsampler_0"):
            raise KeyError
        with timer.host_stage("prepare"):
            device.ranges.append("inside")
    expected = ["pcsr/upsampler_0", "end", "pcsr/prepare", "inside", "end"]
    assert device.ranges == 2 * expected


def test_what_stays_on_the_device_is_timed_only_while_recorded(device: Device) -> None:
    assert isinstance(make_timer(CUDA, stays=True), NoTimer)
    assert isinstance(make_timer(CUDA, stays=False), EventTimer)
    assert type(make_timer(torch.device("cpu"), stays=False)) is Stopwatch
    with recorded_spans():
        assert isinstance(make_timer(CUDA, stays=True), EventTimer)
