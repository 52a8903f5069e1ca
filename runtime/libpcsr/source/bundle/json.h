/* JSON, in as much of it as a bundle needs: numbers of 64 bits, names that can be printed. */
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace pcsr {

using Json = nlohmann::json;

/* Throws std::invalid_argument where it is not JSON, or it has a key twice, a number that does not
   fit 64 bits, NaN or infinity, control characters in a text, or more than 32 levels. */
Json parse_json(const std::vector<uint8_t> &data);

}  // namespace pcsr
