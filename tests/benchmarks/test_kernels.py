"""Counting the instructions of a disassembly."""

import pytest

from benchmarks.compiled.sass import instructions, most_frequent, turned

# Two instructions, a loop of four with another of two in it, and an end with its padding.
SASS = """
Function : dense_kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;    /* 0x00000a00ff017b82 */
    /* 0x000e220000000800 */
        /*0010*/                   S2R R4, SR_CTAID.X ;    /* 0x0000000000047919 */
        /*0020*/                   FADD R4, R4, R1 ;    /* 0x0000000000047919 */
        /*0030*/              @!P0 FADD.FTZ R4, R4, R1 ;    /* 0x0000000000047919 */
        /*0040*/               @P0 BRA 0x30 ?trans6; /* 0xffffffd000806947 */
        /*0050*/              @!P1 BRA 0x20 ;    /* 0xffffffd000806947 */
        /*0060*/                   EXIT ;    /* 0x000000000000794d */
        /*0070*/                   BRA 0x70;    /* 0xfffffffc00fc7947 */
        /*0080*/                   NOP;    /* 0x0000000000007918 */
"""


def test_instructions_and_their_loops() -> None:
    found = instructions(SASS)
    assert [one.operation for one in found] == [
        "LDC",
        "S2R",
        "FADD",
        "FADD.FTZ",
        "BRA",
        "BRA",
        "EXIT",
    ]
    assert [len(one.loops) for one in found] == [0, 0, 1, 2, 2, 1, 0]
    assert most_frequent(found, 1) == "FADD 2"


@pytest.mark.parametrize(
    ("trips", "persistent", "expected"),
    [
        ((), False, 7),
        ((10,), False, 3 + 10 * 4),
        ((10, 3), False, 3 + 10 * (2 + 3 * 2)),
        ((3,), True, 2 + 3 * 2),
        ((), True, 4),
    ],
)
def test_turned(trips: tuple[int, ...], persistent: bool, expected: int) -> None:
    assert turned(instructions(SASS), trips, persistent) == expected
