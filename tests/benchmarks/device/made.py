"""Made-up records of a run on a GPU."""

from typing import Any

from benchmarks.records import Record


def run(**values: Any) -> Record:  # noqa: ANN401
    """The first record of a run."""
    machine = {
        "device": "NVIDIA H200",
        "date": "2024-01-01",
        "commit": "abc",
        "versions": {"python": "3.12", "torch": "2.11"},
        "sm": "9.0",
        "memory_mib": 143771,
        "cuda": "13.0",
        "cudnn": 91300,
        "nvidia_smi": "no answer: FileNotFoundError",
    }
    return _record("run", machine=machine, quick=False) | values


def timed(ms: float, **values: Any) -> Record:  # noqa: ANN401
    """One contender that went well."""
    record = _record(
        "time",
        model="carn",
        precision="fp16",
        lr_size=[1080, 1920],
        image="photos",
        clock="CUDA events",
        contender="pcsr, torch, fused, graph, ADM",
        family="pcsr",
        mode="ADM",
        plain="plain, torch, graph",
        ours=True,
        skipped=False,
        notes=[],
        device_ms={"p50": ms, "p90": ms, "p99": ms, "rounds": 20},
        host_ms=None,
        enqueue_ms=None,
        over_plain=0.4,
        over_published=0.04,
        peak_mib=1000.0,
        held_mib=2000.0,
        heavy_share=0.3,
        tflop_s=100.0,
        gb_s=1000.0,
        stages={},
    )
    return record | values


def checked(**values: Any) -> Record:  # noqa: ANN401
    """One path that is right."""
    return (
        _record(
            "fidelity",
            model="carn",
            precision="fp16",
            path="pcsr, torch, fused, graph",
            ours=True,
            passed=True,
            what_failed=[],
            worst_loss_db=0.001,
            least_psnr_db=60.0,
            routed_alike=0.9999,
        )
        | values
    )


def _record(kind: str, **values: Any) -> Record:  # noqa: ANN401
    return {"kind": kind, "model": "", "precision": "", "error": None} | values
