"""The table shows what the records say, and failures are rows."""

from benchmarks.cpu.report import faults, format_group

from .made import failed, record

COMPARED = {"rival": "eager-k0", "psnr_db": 71.25, "max_levels": 3, "share_off": 2e-4}


def test_the_row_of_a_contender() -> None:
    table = format_group([record()])
    row = next(line for line in table.splitlines() if line.startswith("pcsr, k = 0"))
    for shown in ("123.4", "120.0-130.0", "0.250", "0.125", "512", "37.5%", "12.3", "45.6", "50%"):
        assert shown in row.split()
    assert "480x270 -> 1920x1080" in table
    assert "sgemm 200 GFLOP/s" in table
    assert "random" not in table
    assert "NOT QUIET" not in table


def test_times_per_stage_are_those_of_ours() -> None:
    stages = {"to float": 1.0, "network": 2.0}
    plain = record(contender="plain-ort", label="plain", ours=False, stage_ms=stages)
    table = format_group([record(), plain])
    assert "backbone" in table
    assert "to float" not in table


def test_one_that_failed_is_a_row_that_says_why() -> None:
    table = format_group([record(), failed(label="plain", ours=False)])
    row = next(line for line in table.splitlines() if line.startswith("plain"))
    assert row.split() == ["plain", "failed"]
    assert "plain failed: killed" in table


def test_random_weights_slow_ones_and_reloaded_ones_are_named() -> None:
    table = format_group([record(is_trained=False, is_slow=True, is_released=True)])
    assert "random weights: k = 0 and ADM mean nothing" in table
    assert "is slow: 1 rounds, without warm-up" in table
    assert "loaded anew for every call" in table


def test_a_busy_machine_is_named() -> None:
    table = format_group([record(foreign_cores=1.26), record(foreign_cores=1.26)])
    assert table.count("others used 1.3 cores") == 1
    assert "NOT QUIET" not in format_group([record(foreign_cores=None)])


def test_the_comparison_with_the_published_form_is_shown() -> None:
    table = format_group([record(fidelity=COMPARED | {"is_faithful": True})])
    assert "against eager-k0: PSNR 71.2 dB, max difference 3 of 255, 0.0200% of pixels" in table


def test_faults_are_our_failures_and_differences() -> None:
    fine = record(fidelity=COMPARED | {"is_faithful": True})
    assert faults([fine, failed(ours=False)]) == []
    assert faults([failed()]) == ["fsrcnn 1080p, pcsr, k = 0: killed"]
    uncompared = [record(rival="eager-k0"), failed(contender="eager-k0", ours=False)]
    assert faults(uncompared) == []
    assert "could not be compared with eager-k0" in faults(uncompared, must_compare=True)[0]
    (fault,) = faults([record(fidelity=COMPARED | {"is_faithful": False})])
    assert "differs from eager-k0: PSNR 71.2 dB" in fault
