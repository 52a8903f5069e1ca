/* Arrays in .npz files. They are compared with what is expected before they are copied. */
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pcsr {

/* Reads float32 arrays. expected: their shapes by name; there have to be these and no others.
   Throws std::invalid_argument where the file is damaged or holds anything else. */
std::map<std::string, std::vector<float>> read_npz(
    const std::vector<uint8_t> &file, const std::map<std::string, std::vector<int64_t>> &expected);

}  // namespace pcsr
