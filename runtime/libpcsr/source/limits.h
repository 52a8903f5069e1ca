/* What this process may take of the machine, as runtime/machine.py counts it. */
#pragma once
#include <cstdint>

namespace pcsr {

/* The cores that this process may run on, no more than a container's quota of CPU time amounts to,
   rounded up. */
int usable_cores();

/* The memory that can be taken without swapping; what is left of a container's limit, or of
   `ulimit -v` or `-d`, where that is less. 4 GiB where none is known. */
int64_t available_bytes();

}  // namespace pcsr
