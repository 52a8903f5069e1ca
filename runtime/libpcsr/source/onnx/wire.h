/* Protobuf's wire format: the fields of a message, one by one. Reads nothing outside of it. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pcsr::onnx {

enum class Wire { varint = 0, fixed64 = 1, delimited = 2, fixed32 = 5 };

using Bytes = std::vector<uint8_t>;

/* Bytes of a file. */
struct Range {
    size_t begin = 0, end = 0;
    size_t size() const { return end - begin; }
};

struct Field {
    uint32_t number = 0;
    Wire wire = Wire::varint;
    Range whole;   /* with its tag, and its length */
    Range content;
    uint64_t value = 0; /* of a number of any width, as it stands there */
};

/* Takes a message apart. Throws std::invalid_argument where it is damaged. */
class Fields {
public:
    Fields(const Bytes &file, Range message);
    /* Gives false behind the last field. */
    bool next(Field &field);

private:
    uint64_t number(size_t most_bytes);
    uint64_t fixed(size_t width);
    const Bytes &file_;
    size_t at_, end_;
};

/* Appends the numbers of a field that is written once for each, or packed; of another wire type
   there are none. Keeps the first `most` of them alone, and returns how many there are. */
int64_t read_numbers(const Bytes &file, const Field &field, Wire wire, size_t most,
                     std::vector<uint64_t> &numbers);

/* The float32 of these bits. */
double real_of(uint64_t bits);
std::string text(const Bytes &file, Range range);
void append_varint(Bytes &to, uint64_t value);

}  // namespace pcsr::onnx
