#include "wire.h"

#include <cstring>
#include <limits>
#include <stdexcept>

namespace pcsr::onnx {
namespace {

constexpr size_t LONGEST = 10;       /* bytes of a number of 64 bits */
constexpr size_t LONGEST_LENGTH = 5; /* of a tag, or of a length: of 32 bits */

uint64_t varint(const Bytes &file, size_t &at, size_t end, size_t most_bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < most_bytes && at < end; i++) {
        const uint64_t byte = file[at++];
        value |= (byte & 127) << (7 * i);
        if (byte < 128) return value;
    }
    throw std::invalid_argument("it ends in the middle of a number");
}

uint64_t little_endian(const Bytes &file, size_t at, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) value |= static_cast<uint64_t>(file[at + i]) << (8 * i);
    return value;
}

}  // namespace

Fields::Fields(const Bytes &file, Range message)
    : file_(file), at_(message.begin), end_(message.end) {}

uint64_t Fields::number(size_t most_bytes) { return varint(file_, at_, end_, most_bytes); }

uint64_t Fields::fixed(size_t width) {
    if (end_ - at_ < width) throw std::invalid_argument("its fields are damaged");
    at_ += width;
    return little_endian(file_, at_ - width, width);
}

bool Fields::next(Field &field) {
    if (at_ >= end_) return false;
    field = {};
    field.whole.begin = at_;
    const uint64_t tag = number(LONGEST_LENGTH);
    if (tag > std::numeric_limits<uint32_t>::max() || tag < 8)
        throw std::invalid_argument("its fields are damaged");
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire = static_cast<Wire>(tag & 7);
    field.content.begin = at_;
    switch (field.wire) {
        case Wire::varint: field.value = number(LONGEST); break;
        case Wire::fixed64: field.value = fixed(8); break;
        case Wire::fixed32: field.value = fixed(4); break;
        case Wire::delimited: {
            const uint64_t length = number(LONGEST_LENGTH);
            if (length > end_ - at_) throw std::invalid_argument("its fields are damaged");
            field.content.begin = at_;
            at_ += static_cast<size_t>(length);
            break;
        }
        default: throw std::invalid_argument("it is damaged, or holds groups");
    }
    field.content.end = field.whole.end = at_;
    return true;
}

int64_t read_numbers(const Bytes &file, const Field &field, Wire wire, size_t most,
                     std::vector<uint64_t> &numbers) {
    if (field.wire == wire) {
        if (numbers.size() < most) numbers.push_back(field.value);
        return 1;
    }
    if (field.wire != Wire::delimited) return 0;
    int64_t count = 0;
    const size_t end = field.content.end, width = wire == Wire::fixed64 ? 8 : 4;
    for (size_t at = field.content.begin; at < end; count++) {
        uint64_t value = 0;
        if (wire == Wire::varint) {
            value = varint(file, at, end, LONGEST);
        } else if (end - at < width) {
            throw std::invalid_argument("its numbers are damaged");
        } else {
            value = little_endian(file, at, width);
            at += width;
        }
        if (numbers.size() < most) numbers.push_back(value);
    }
    return count;
}

double real_of(uint64_t bits) {
    const uint32_t low = static_cast<uint32_t>(bits);
    float value = 0;
    std::memcpy(&value, &low, sizeof value);
    return static_cast<double>(value);
}

std::string text(const Bytes &file, Range range) {
    const auto begin = file.begin() + static_cast<std::ptrdiff_t>(range.begin);
    return std::string(begin, begin + static_cast<std::ptrdiff_t>(range.size()));
}

void append_varint(Bytes &to, uint64_t value) {
    for (; value > 127; value >>= 7) to.push_back(static_cast<uint8_t>(value | 128));
    to.push_back(static_cast<uint8_t>(value));
}

}  // namespace pcsr::onnx
