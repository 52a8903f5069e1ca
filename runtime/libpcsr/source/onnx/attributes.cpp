#include <utility>

#include "fields.h"
#include "shapes.h"
#include "weights.h"

namespace pcsr::onnx {
namespace {

/* AttributeProto.AttributeType */
enum Type : uint32_t {
    UNDEFINED, FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS, TENSORS, GRAPHS,
    SPARSE_TENSOR, SPARSE_TENSORS, TYPE_PROTO, TYPE_PROTOS
};

/* An attribute as it is written; its type says which of these counts. */
struct Written {
    uint32_t type = UNDEFINED;
    double real = 0;
    int64_t integer = 0;
    Range text;
    std::vector<Range> tensor;
    int64_t real_count = 0, integer_count = 0;
    std::vector<uint64_t> reals, integers;
};

void read_field(const Bytes &file, const Field &field, Written &written) {
    constexpr size_t KEPT = static_cast<size_t>(MOST_KNOWN);
    const uint32_t low = static_cast<uint32_t>(field.value);
    switch (field.number) {
        case attribute_fields::f:
            if (field.wire == Wire::fixed32) written.real = real_of(field.value);
            break;
        case attribute_fields::i:
            if (field.wire == Wire::varint) written.integer = static_cast<int64_t>(field.value);
            break;
        case attribute_fields::s:
            if (field.wire == Wire::delimited) written.text = field.content;
            break;
        case attribute_fields::t: written.tensor.push_back(field.content); break;
        case attribute_fields::type: /* a number that is no type is as none */
            if (field.wire == Wire::varint && low <= TYPE_PROTOS) written.type = low;
            break;
        case attribute_fields::floats:
            written.real_count += read_numbers(file, field, Wire::fixed32, KEPT, written.reals);
            break;
        case attribute_fields::ints:
            written.integer_count +=
                read_numbers(file, field, Wire::varint, KEPT, written.integers);
            break;
        default: break;
    }
}

/* A list, whose numbers are known where they are few. */
Value reals(const Written &written) {
    Value value = of_shape({written.real_count});
    if (written.real_count > MOST_KNOWN) return value;
    value.known = Value::Known::reals;
    for (uint64_t bits : written.reals) value.reals.push_back(real_of(bits));
    return value;
}

Value integers(const Written &written) {
    Value value = of_shape({written.integer_count});
    if (written.integer_count > MOST_KNOWN) return value;
    value.known = Value::Known::integers;
    for (uint64_t bits : written.integers) value.integers.push_back(static_cast<int64_t>(bits));
    return value;
}

Attribute of_list(Value value) {
    Attribute attribute;
    attribute.kind = Attribute::Kind::list;
    attribute.value = std::move(value);
    return attribute;
}

Attribute chosen(const Bytes &file, const Written &written) {
    Attribute attribute;
    switch (written.type) {
        case UNDEFINED: return attribute;
        case FLOAT:
            attribute.kind = Attribute::Kind::real;
            attribute.real = written.real;
            return attribute;
        case INT:
            attribute.kind = Attribute::Kind::integer;
            attribute.integer = written.integer;
            return attribute;
        case STRING:
            attribute.kind = Attribute::Kind::text;
            attribute.text = text(file, written.text);
            return attribute;
        case FLOATS: return of_list(reals(written));
        case INTS: return of_list(integers(written));
        case STRINGS: case TENSORS: case GRAPHS: case SPARSE_TENSORS: case TYPE_PROTOS:
            return of_list(of_shape({0})); /* the fields of these are refused */
        default:
            attribute.kind = Attribute::Kind::other;
            return attribute;
    }
}

}  // namespace

Attribute read_attribute(const Bytes &file, Range message, bool allow_tensor) {
    Written written;
    Fields fields(file, message);
    for (Field field; fields.next(field);) read_field(file, field, written);
    if (written.tensor.empty()) return chosen(file, written);
    if (!allow_tensor || written.type != TENSOR) refuse("a node has a tensor as attribute");
    Attribute attribute;
    attribute.kind = Attribute::Kind::tensor;
    attribute.value = read_tensor(file, written.tensor);
    return attribute;
}

}  // namespace pcsr::onnx
