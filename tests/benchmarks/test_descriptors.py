"""Whether addresses of products on tensor cores are made from loaded values."""

import pytest

from benchmarks.compiled.descriptors import products_at_loaded_addresses

# A descriptor's low half from R18, through a uniform register and one that is spilled.
SASS = """
        /*0000*/                   LDSM.16.M88.4 R16, [R6] ;
        /*0010*/                   S2R R3, SR_TID.X ;
        /*0020*/                   SHF.R.U32.HI R{address}, RZ, 0x4, R3 ;
        /*0030*/                   IADD3 R9, P0, R18, 0x20, RZ ;
        /*0040*/                   STL [R1+0x8], R9 ;
        /*0050*/                   ISETP.GE.AND P1, PT, R18, R3, PT ;
        /*0060*/                   LDL R10, [R1+0x8] ;
        /*0070*/                   R2UR UR7, R10 ;
        /*0080*/                   UMOV UR46, UR7 ;
        /*0090*/                   HGMMA.64x16x16.F32 R24, R36, gdesc[UR{first}].tnspB, R24 ;
        /*00a0*/              @P1 BRA 0x90 ;
        /*00b0*/                   EXIT ;
"""


@pytest.mark.parametrize(
    ("address", "first", "expected"),
    [
        (18, 44, []),
        (20, 44, [0x90]),
        (17, 44, [0x90]),
        (20, 46, []),  # these two are of A, which is in registers
        (20, 40, []),
    ],
)
def test_products(address: int, first: int, expected: list[int]) -> None:
    sass = SASS.replace("{address}", str(address)).replace("{first}", str(first))
    assert products_at_loaded_addresses(sass) == expected


def test_what_a_loop_leaves_in_a_register() -> None:
    """It is a loaded value from the second turn on; both operands are in shared memory."""
    sass = """
        /*0000*/                   UMOV UR4, 0x40000040 ;
        /*0010*/                   HGMMA.64x64x16.F32 R24, gdesc[UR4].tnspB, RZ, !UPT, gsb0 ;
        /*0020*/                   R2UR UR5, {source} ;
        /*0030*/              @!P0 BRA 0x10 ;
        /*0040*/                   EXIT ;
"""
    assert products_at_loaded_addresses(sass.replace("{source}", "R55")) == [0x10]
    assert products_at_loaded_addresses(sass.replace("{source}", "R56")) == []
