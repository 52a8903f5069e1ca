"""What a run's records become: verdicts, tables, and what counts as a failure."""

from benchmarks.device.goals import goals
from benchmarks.device.report import write_details, write_summary
from benchmarks.device.summary import faults

from .made import checked, run, timed


def verdicts(ms: float, **values: float | None) -> dict[str, str]:
    found = goals([timed(ms, **values)])
    return {
        t["what"].rpartition(": ")[2]: t["verdict"]
        for t in found
        if "carn 1920x1080 fp16, ADM" in t["what"]
    }


def test_a_figure_is_met_missed_or_not_measured() -> None:
    met = {"GPU time": "met", "speed over plain, same backend": "met"}
    assert verdicts(8.0) | met == verdicts(8.0)
    assert verdicts(8.1)["GPU time"] == "MISSED"
    assert verdicts(1.0, over_plain=0.51)["speed over plain, same backend"] == "MISSED"
    assert verdicts(1.0, over_published=0.05)["speed over published form"] == "met"
    assert verdicts(1.0, over_published=None)["speed over published form"] == "not measured"
    assert {t["verdict"] for t in goals([])} == {"not measured"}


def test_other_precisions_sizes_and_failures_are_not_the_figure() -> None:
    others = [
        timed(1.0, precision="fp32"),
        timed(1.0, lr_size=[1, 1]),
        timed(1.0, error="x"),
        timed(1.0, family="plain"),
    ]
    assert {t["verdict"] for t in goals(others) if "1920x1080 fp16" in t["what"]} == {
        "not measured"
    }


def test_the_fastest_of_ours_is_held_against_the_figure() -> None:
    slow, fast = timed(9.0), timed(7.5, contender="other")
    found = [
        t["measured"] for t in goals([slow, fast]) if t["wanted"] == "<= 8 ms" and t["measured"]
    ]
    assert found == ["7.500 ms"]


def test_the_report_shows_times_failures_and_what_was_dropped() -> None:
    failed = timed(1.0, contender="pcsr, torch, fused, ADM", error="boom", device_ms=None)
    records = [run(), checked(), checked(path="b", passed=False), timed(7.123), failed]
    text = write_summary(records, ["time carn fp32 1920x1080"])
    assert "NVIDIA H200" in text
    assert "7.123" in text
    assert "FAILED" in text
    assert "not done, for the time was over: time carn fp32 1920x1080" in text
    assert "carn fp16 1920x1080 [pcsr, torch, fused, ADM]: boom" in text
    details = write_details(records)
    assert "| pcsr, torch, fused, ADM        |       failed |" in details


def test_a_section_that_failed_as_a_whole_is_a_remark() -> None:
    failed = {"kind": "time", "model": "carn", "precision": "fp16", "error": "boom", "ours": True}
    records = [run(), timed(7.123), failed]
    assert "- carn fp16 [time]: boom" in write_summary(records, [])
    assert "7.123" in write_details(records)


def test_stages_are_shown_with_their_share_of_the_ceilings() -> None:
    stages = {"dense": {"ms": 0.5, "gb_s": 1000.0, "tflop_s": 30.0}}
    record = timed(2.0, contender="pcsr, torch, fused, ADM", stages=stages)
    roof = run() | {"kind": "ceilings", "copy_gb_s": 4000.0, "matmul_fp16_tflop_s": 600.0}
    line = next(row for row in write_details([roof, record]).splitlines() if "dense" in row)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        *("ADM", "dense", "0.500", "1000", "25%", "30.00", "5%")
    ]


def test_only_ours_make_the_run_a_failure() -> None:
    assert faults([run(), checked(), timed(1.0)]) == []
    assert faults([timed(1.0, ours=False, error="x"), checked(ours=False, passed=False)]) == []
    assert faults([timed(1.0, skipped=True, error="no time was left for it")]) == []
    assert faults([timed(1.0, error="x")]) == [
        "carn fp16 1920x1080 [pcsr, torch, fused, graph, ADM]: x"
    ]
    wrong = checked(passed=False, what_failed=["a: 30 dB"])
    assert faults([wrong]) == ["carn fp16 [pcsr, torch, fused, graph]: a: 30 dB"]
    assert len(faults([checked(passed=False, checks=0)])) == 1
    networks = {"kind": "networks", "model": "carn", "precision": "", "problems": ["no fp16"]}
    assert faults([networks]) == ["carn: no fp16"]
