#include "weights.h"

#include <limits>
#include <stdexcept>
#include <utility>

#include "fields.h"
#include "shapes.h"

namespace pcsr::onnx {
namespace {

enum : int32_t { FLOAT = 1, INT64 = 7 };

/* A tensor as it is written. Of numbers in fields of their own, the first are kept. */
struct Tensor {
    Shape dims;
    int32_t data_type = 0;
    bool has_raw = false, is_external = false;
    Range raw;
    int64_t typed = 0; /* numbers in fields of any type */
    std::vector<uint64_t> floats, integers;
    std::string name;
};

constexpr size_t KEPT = static_cast<size_t>(MOST_KNOWN) + 1;

int64_t width_of(int32_t data_type) {
    switch (data_type) {
        case 2: case 3: case 9: case 17: return 1; /* UINT8, INT8, BOOL, FLOAT8E4M3FN */
        case 4: case 10: case 16: return 2;        /* UINT16, FLOAT16, BFLOAT16 */
        case FLOAT: case 6: return 4;              /* INT32 */
        case INT64: case 11: return 8;             /* DOUBLE */
        default: refuse("values of type " + std::to_string(data_type));
    }
}

void read_numbers_of(const Bytes &file, const Field &field, Tensor &tensor) {
    std::vector<uint64_t> others;
    switch (field.number) {
        case tensor_fields::float_data:
            tensor.typed += read_numbers(file, field, Wire::fixed32, KEPT, tensor.floats);
            break;
        case tensor_fields::int64_data:
            tensor.typed += read_numbers(file, field, Wire::varint, KEPT, tensor.integers);
            break;
        case tensor_fields::int32_data:
        case tensor_fields::uint64_data:
            tensor.typed += read_numbers(file, field, Wire::varint, 0, others);
            break;
        case tensor_fields::double_data:
            tensor.typed += read_numbers(file, field, Wire::fixed64, 0, others);
            break;
        default: break;
    }
}

void read_field(const Bytes &file, const Field &field, Tensor &tensor) {
    const bool is_delimited = field.wire == Wire::delimited;
    const bool is_varint = field.wire == Wire::varint;
    const int32_t low = static_cast<int32_t>(static_cast<uint32_t>(field.value));
    std::vector<uint64_t> dims;
    switch (field.number) {
        case tensor_fields::dims:
            read_numbers(file, field, Wire::varint, MOST_SIDES + 1, dims);
            for (uint64_t side : dims) tensor.dims.push_back(static_cast<int64_t>(side));
            if (tensor.dims.size() > MOST_SIDES) refuse("a weight has too many dimensions");
            break;
        case tensor_fields::data_type:
            if (is_varint) tensor.data_type = low;
            break;
        case tensor_fields::name:
            if (is_delimited) tensor.name = text(file, field.content);
            break;
        case tensor_fields::raw_data:
            if (!is_delimited) break;
            tensor.has_raw = true;
            tensor.raw = field.content;
            break;
        case tensor_fields::data_location: /* another number than 0 and 1 is as none */
            if (is_varint && (low == 0 || low == 1)) tensor.is_external = low == 1;
            break;
        default: read_numbers_of(file, field, tensor);
    }
}

/* The numbers of a small tensor, of whatever field holds them. */
std::vector<uint64_t> small(const Bytes &file, const Tensor &tensor, int64_t count) {
    const bool is_integer = tensor.data_type == INT64;
    std::vector<uint64_t> bits;
    if (tensor.has_raw) {
        const Field field = {0, Wire::delimited, {}, tensor.raw, 0};
        read_numbers(file, field, is_integer ? Wire::fixed64 : Wire::fixed32, KEPT, bits);
    } else {
        bits = is_integer ? tensor.integers : tensor.floats;
    }
    if (static_cast<int64_t>(bits.size()) != count) refuse("it has another size than its shape");
    return bits;
}

Value with_numbers(Shape shape, const std::vector<uint64_t> &bits, bool are_integers) {
    Value value = of_shape(std::move(shape));
    value.known = are_integers ? Value::Known::integers : Value::Known::reals;
    for (uint64_t each : bits)
        if (are_integers)
            value.integers.push_back(static_cast<int64_t>(each));
        else
            value.reals.push_back(real_of(each));
    return value;
}

/* Whether its sides, those of 0 left out, are a size in bytes: others are no array. */
bool is_array(const Shape &shape, int64_t width) {
    int64_t bytes = width;
    for (int64_t side : shape)
        if (side != 0) bytes = amount(bytes, side);
    return bytes < std::numeric_limits<int64_t>::max();
}

Value value_of(const Bytes &file, const Tensor &tensor) {
    const int64_t values = count(tensor.dims), width = width_of(tensor.data_type);
    const int64_t raw = static_cast<int64_t>(tensor.raw.size());
    if (amount(values, width) != raw && (raw != 0 || values != tensor.typed))
        refuse("it has another size than its shape");
    const bool is_integer = tensor.data_type == INT64;
    if (values > MOST_KNOWN || !(is_integer || tensor.data_type == FLOAT))
        return of_shape(tensor.dims);
    if (!is_array(tensor.dims, width)) refuse("its shape is out of range");
    return with_numbers(tensor.dims, small(file, tensor, values), is_integer);
}

}  // namespace

Value read_tensor(const Bytes &file, const std::vector<Range> &parts) {
    Tensor tensor;
    for (const Range &part : parts) {
        Fields fields(file, part);
        for (Field field; fields.next(field);) read_field(file, field, tensor);
    }
    if (tensor.is_external)
        refuse("it has data_location in a TensorProto, which no graph of a bundle has");
    for (int64_t side : tensor.dims)
        if (side < 0) refuse("the weight " + quoted(tensor.name) + " has a negative side");
    try {
        return value_of(file, tensor);
    } catch (const std::invalid_argument &error) {
        refuse("the weight " + quoted(tensor.name) + " is damaged (" + error.what() + ")");
    }
}

std::string quoted(const std::string &name) {
    constexpr size_t LONGEST = 78;
    std::string result = "'";
    for (size_t i = 0; i < name.size() && i < LONGEST; i++)
        result += name[i] >= ' ' && name[i] <= '~' ? name[i] : '?';
    return result + "'";
}

}  // namespace pcsr::onnx
