#include "fields.h"

#include <stdexcept>

namespace pcsr::onnx {
namespace {

constexpr int64_t MOST_FIELDS = 500000;
constexpr int MOST_DEPTH = 16;
constexpr size_t LONG_BYTES = size_t{1} << 20;

enum class Message {
    none, /* a number, a text or bytes */
    anything, /* one that is refused wherever it is, whatever it holds */
    model,
    opset,
    graph,
    node,
    attribute,
    tensor,
    entry,
    value_info,
    type,
    tensor_type,
    shape,
    dimension,
    list_type,
    map_type,
    opaque_type
};

struct FieldType {
    Message in;
    uint32_t number;
    const char *name;
    Message message = Message::none;
    bool is_refused = false;
};

constexpr bool REFUSED = true;

constexpr FieldType TYPES[] = {
    {Message::model, 1, "ir_version"},
    {Message::model, 2, "producer_name"},
    {Message::model, 3, "producer_version"},
    {Message::model, 4, "domain"},
    {Message::model, 5, "model_version"},
    {Message::model, 6, "doc_string"},
    {Message::model, 7, "graph", Message::graph},
    {Message::model, 8, "opset_import", Message::opset},
    {Message::model, 14, "metadata_props", Message::entry},
    {Message::model, 20, "training_info", Message::anything, REFUSED},
    {Message::model, 25, "functions", Message::anything, REFUSED},
    {Message::model, 26, "configuration", Message::anything, REFUSED},

    {Message::opset, 1, "domain"},
    {Message::opset, 2, "version"},

    {Message::graph, 1, "node", Message::node},
    {Message::graph, 2, "name"},
    {Message::graph, 5, "initializer", Message::tensor},
    {Message::graph, 10, "doc_string"},
    {Message::graph, 11, "input", Message::value_info},
    {Message::graph, 12, "output", Message::value_info},
    {Message::graph, 13, "value_info", Message::value_info},
    {Message::graph, 14, "quantization_annotation", Message::anything, REFUSED},
    {Message::graph, 15, "sparse_initializer", Message::anything, REFUSED},
    {Message::graph, 16, "metadata_props", Message::entry},

    {Message::node, 1, "input"},
    {Message::node, 2, "output"},
    {Message::node, 3, "name"},
    {Message::node, 4, "op_type"},
    {Message::node, 5, "attribute", Message::attribute},
    {Message::node, 6, "doc_string"},
    {Message::node, 7, "domain"},
    {Message::node, 8, "overload", Message::none, REFUSED},
    {Message::node, 9, "metadata_props", Message::entry},
    {Message::node, 10, "device_configurations", Message::anything, REFUSED},

    {Message::attribute, 1, "name"},
    {Message::attribute, 2, "f"},
    {Message::attribute, 3, "i"},
    {Message::attribute, 4, "s"},
    {Message::attribute, 5, "t", Message::tensor},
    {Message::attribute, 6, "g", Message::anything, REFUSED},
    {Message::attribute, 7, "floats"},
    {Message::attribute, 8, "ints"},
    {Message::attribute, 9, "strings", Message::none, REFUSED},
    {Message::attribute, 10, "tensors", Message::anything, REFUSED},
    {Message::attribute, 11, "graphs", Message::anything, REFUSED},
    {Message::attribute, 13, "doc_string"},
    {Message::attribute, 14, "tp", Message::anything, REFUSED},
    {Message::attribute, 15, "type_protos", Message::anything, REFUSED},
    {Message::attribute, 20, "type"},
    {Message::attribute, 21, "ref_attr_name", Message::none, REFUSED},
    {Message::attribute, 22, "sparse_tensor", Message::anything, REFUSED},
    {Message::attribute, 23, "sparse_tensors", Message::anything, REFUSED},

    {Message::tensor, 1, "dims"},
    {Message::tensor, 2, "data_type"},
    {Message::tensor, 3, "segment", Message::anything, REFUSED},
    {Message::tensor, 4, "float_data"},
    {Message::tensor, 5, "int32_data"},
    {Message::tensor, 6, "string_data", Message::none, REFUSED},
    {Message::tensor, 7, "int64_data"},
    {Message::tensor, 8, "name"},
    {Message::tensor, 9, "raw_data"},
    {Message::tensor, 10, "double_data"},
    {Message::tensor, 11, "uint64_data"},
    {Message::tensor, 12, "doc_string"},
    {Message::tensor, 13, "external_data", Message::anything, REFUSED},
    {Message::tensor, 14, "data_location"}, /* its value is looked at with the tensor's */
    {Message::tensor, 16, "metadata_props", Message::entry},

    {Message::entry, 1, "key"},
    {Message::entry, 2, "value"},

    {Message::value_info, 1, "name"},
    {Message::value_info, 2, "type", Message::type},
    {Message::value_info, 3, "doc_string"},
    {Message::value_info, 4, "metadata_props", Message::entry},

    {Message::type, 1, "tensor_type", Message::tensor_type},
    {Message::type, 4, "sequence_type", Message::list_type},
    {Message::type, 5, "map_type", Message::map_type},
    {Message::type, 6, "denotation"},
    {Message::type, 7, "opaque_type", Message::opaque_type},
    {Message::type, 8, "sparse_tensor_type", Message::tensor_type},
    {Message::type, 9, "optional_type", Message::list_type},

    {Message::tensor_type, 1, "elem_type"},
    {Message::tensor_type, 2, "shape", Message::shape},
    {Message::shape, 1, "dim", Message::dimension},
    {Message::dimension, 1, "dim_value"},
    {Message::dimension, 2, "dim_param"},
    {Message::dimension, 3, "denotation"},
    {Message::list_type, 1, "elem_type", Message::type},
    {Message::map_type, 1, "key_type"},
    {Message::map_type, 2, "value_type", Message::type},
    {Message::opaque_type, 1, "domain"},
    {Message::opaque_type, 2, "name"},
};

const FieldType &type_of(Message message, uint32_t number) {
    for (const FieldType &type : TYPES)
        if (type.in == message && type.number == number) return type;
    throw std::invalid_argument("field " + std::to_string(number) + " is not known");
}

class Check {
public:
    explicit Check(const Bytes &file) : file_(file) {}

    void message(Message kind, Range range, int depth) {
        Fields fields(file_, range);
        for (Field found; fields.next(found);) {
            if (++count_ > MOST_FIELDS || depth > MOST_DEPTH)
                throw std::invalid_argument("its fields are too many, or too deep");
            field(type_of(kind, found.number), found, depth);
        }
    }

private:
    void field(const FieldType &type, const Field &found, int depth) {
        const std::string name = type.name;
        const bool is_delimited = found.wire == Wire::delimited;
        if (type.is_refused && is_delimited)
            throw std::invalid_argument("it has " + name + ", which no graph of a bundle has");
        if (type.message != Message::none) {
            if (!is_delimited) throw std::invalid_argument(name + " is damaged");
            message(type.message, found.content, depth + 1);
        } else if (found.content.size() > LONG_BYTES && name != "raw_data") {
            throw std::invalid_argument(name + " is too long");
        }
    }

    const Bytes &file_;
    int64_t count_ = 0;
};

}  // namespace

void check_fields(const Bytes &file) { Check(file).message(Message::model, {0, file.size()}, 0); }

std::string text_field(const Bytes &file, Range message, uint32_t number) {
    Fields fields(file, message);
    Range last;
    for (Field field; fields.next(field);)
        if (field.number == number && field.wire == Wire::delimited) last = field.content;
    return text(file, last);
}

}  // namespace pcsr::onnx
