/* The folded MLPs of a bundle: classifier and upsamplers as plain arrays. */
#pragma once
#include <cstdint>
#include <vector>

#include "bundle/bundle.h"

namespace pcsr {

/* Reads mlps.npz. Throws std::invalid_argument where it is damaged, or does not fit. */
std::vector<Mlp> read_mlps(const Manifest &manifest, const std::vector<uint8_t> &file);

}  // namespace pcsr
