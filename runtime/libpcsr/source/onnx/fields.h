/* The messages of an ONNX file: which fields they have, and which of them a graph of a bundle may
   hold. The numbers are those of onnx.proto. */
#pragma once
#include "wire.h"

namespace pcsr::onnx {

namespace model_fields {
enum : uint32_t { graph = 7, opset_import = 8 };
}
namespace opset_fields {
enum : uint32_t { domain = 1, version = 2 };
}
namespace graph_fields {
enum : uint32_t { node = 1, initializer = 5, input = 11, output = 12, value_info = 13 };
}
namespace value_fields {
enum : uint32_t { name = 1 };
}
namespace node_fields {
enum : uint32_t { input = 1, output = 2, op_type = 4, attribute = 5, domain = 7 };
}
namespace attribute_fields {
enum : uint32_t { name = 1, f = 2, i = 3, s = 4, t = 5, floats = 7, ints = 8, type = 20 };
}
namespace tensor_fields {
enum : uint32_t {
    dims = 1,
    data_type = 2,
    float_data = 4,
    int32_data = 5,
    int64_data = 7,
    name = 8,
    raw_data = 9,
    double_data = 10,
    uint64_data = 11,
    data_location = 14
};
}

/* Goes through all fields of a model. Throws std::invalid_argument where it is damaged, or holds
   fields that are not known, may not be there, or are too many, too deep or too long. */
void check_fields(const Bytes &file);

/* The text of a field of a message, the last where there are several, else "". */
std::string text_field(const Bytes &file, Range message, uint32_t number);

}  // namespace pcsr::onnx
