"""Says what weights look like that no recogniser knows."""

import re
from collections.abc import Collection, Mapping

from pcsr.text import one_line

SHOWN_NAMES = 3
LONGEST_NAME = 200
LOOKS: Mapping[str, str] = {
    r"tail_conv\.weight": "FSRCNN, whose weights do not tell its scale",
    r"body\.\d+\.rdb1\.conv1\.weight|RRDB_trunk\..*|model\.1\.sub\..*": "ESRGAN",
    r"block_1\.c1_r\.sk\.weight": "SPAN",
    r"body\.\d+\.body\.\d+\.body\.3\.conv_du\..*|.*\.attention\.\d+\.weight": "RCAN",
    r"layers\.\d+\.residual_group\..*": "a transformer such as SwinIR or HAT",
    r"feats\.\d+\.\w+\.\w+\..*": "PLKSR",
    r"b1\.c1\.body\.0\.weight": "CARN of its authors, without PCSR's BatchNorm",
    r"imnet\..*": "an implicit function such as LIIF, with an encoder or MLP that is not taken",
    r"body\.\d+\.weight": "Compact (SRVGGNet)",
    r"RDBs\..*": "RDN with its own tail, whose normalisation is not known",
}


def found_weights(names: Collection[str]) -> str:
    """Says how many weights there are, what they are called, and what they look like."""
    first = ", ".join(one_line(name[:40]) for name in list(names)[:SHOWN_NAMES])
    more = ", …" if len(names) > SHOWN_NAMES else ""
    looks = [look for pattern, look in LOOKS.items() if _any(pattern, names)]
    noun = "weight" if len(names) == 1 else "weights"
    return f"{len(names)} {noun} ({first}{more})" + (
        f", which look like {looks[0]}" if looks else ""
    )


def _any(pattern: str, names: Collection[str]) -> bool:
    return any(
        len(name) < LONGEST_NAME and re.search(rf"(^|\.)({pattern})$", name) for name in names
    )
