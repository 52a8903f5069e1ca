/* What a graph holds of numbers: weights and attributes. */
#pragma once
#include <string>
#include <vector>

#include "graph.h"
#include "wire.h"

namespace pcsr::onnx {

/* The value of a tensor, which may be written in parts. */
Value read_tensor(const Bytes &file, const std::vector<Range> &parts);

/* An attribute; allow_tensor: whether it may be one. */
Attribute read_attribute(const Bytes &file, Range message, bool allow_tensor);

/* A name of somebody else, for a message: in quotes, of plain characters, shortened. */
std::string quoted(const std::string &name);

}  // namespace pcsr::onnx
