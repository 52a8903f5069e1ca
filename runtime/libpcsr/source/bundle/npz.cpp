#include "bundle/npz.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>

#include "bundle/text.h"
#include "bundle/zip.h"

namespace pcsr {

namespace {

using Shape = std::vector<int64_t>;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are copied as they are stored");

constexpr size_t MOST_HEADER_BYTES = 10'000;
constexpr const char *FLOAT32 = "<f4";

struct Header {
    std::string kind;
    bool is_fortran_order = false;
    Shape shape;
    size_t begin = 0; /* of the values */
};

/* What stands in front of an array: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }. */
class Literal {
public:
    explicit Literal(std::string text) : text_(std::move(text)) {}

    Header header() {
        Header found;
        std::set<std::string> keys;
        expect('{');
        while (!is_next('}')) {
            if (!keys.insert(read_member(found)).second) refuse();
            if (is_next('}')) break;
            expect(',');
        }
        peek();
        if (at_ != text_.size() || keys.size() != 3) refuse();
        return found;
    }

private:
    std::string text_;
    size_t at_ = 0;

    [[noreturn]] static void refuse() { throw std::invalid_argument("its header is damaged"); }

    char peek() {
        at_ = std::min(text_.find_first_not_of(" \t\n", at_), text_.size());
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    bool is_next(char expected) {
        const bool found = peek() == expected;
        at_ += found;
        return found;
    }

    void expect(char expected) {
        if (!is_next(expected)) refuse();
    }

    bool is_word(const char *word) {
        peek();
        const bool found = text_.compare(at_, std::strlen(word), word) == 0;
        at_ += found ? std::strlen(word) : 0;
        return found;
    }

    std::string read_text() {
        const char quote = peek();
        const size_t end = text_.find(quote, at_ + 1);
        if ((quote != '\'' && quote != '"') || end == std::string::npos) refuse();
        std::string found = text_.substr(at_ + 1, end - at_ - 1);
        at_ = end + 1;
        return found;
    }

    int64_t read_number() {
        peek();
        const size_t end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
        const std::string digits = text_.substr(at_, end - at_);
        if (digits.empty() || digits.size() > 18 || (digits.size() > 1 && digits[0] == '0'))
            refuse();
        at_ = end;
        return std::stoll(digits);
    }

    Shape read_shape() {
        Shape shape;
        expect('(');
        while (!is_next(')')) {
            shape.push_back(read_number());
            const bool has_comma = is_next(',');
            if (!has_comma && (shape.size() == 1 || peek() != ')')) refuse();
        }
        return shape;
    }

    std::string read_member(Header &header) {
        std::string key = read_text();
        expect(':');
        if (key == "descr")
            header.kind = read_text();
        else if (key == "fortran_order")
            header.is_fortran_order = !is_word("False") && (is_word("True") || (refuse(), false));
        else if (key == "shape")
            header.shape = read_shape();
        else
            refuse();
        return key;
    }
};

Header read_header(const ZipEntry &entry) {
    const auto byte = [&entry](size_t at) -> size_t {
        if (at >= entry.size) throw std::invalid_argument("it ends in its header");
        return entry.data[at];
    };
    if (entry.size < 10 || std::memcmp(entry.data, "\x93NUMPY", 6) != 0)
        throw std::invalid_argument("it does not begin as one");
    const size_t version = byte(6), start = version == 1 ? 10 : 12;
    if ((version != 1 && version != 2) || byte(7) != 0)
        throw std::invalid_argument("its version is not known here");
    size_t length = byte(8) | byte(9) << 8;
    if (version == 2) length |= byte(10) << 16 | byte(11) << 24;
    if (length > MOST_HEADER_BYTES || start + length > entry.size)
        throw std::invalid_argument("its header is too long");
    Header found = Literal({reinterpret_cast<const char *>(entry.data) + start, length}).header();
    found.begin = start + length;
    return found;
}

std::string array_name(const std::string &entry) {
    const size_t end = entry.size() < 4 ? 0 : entry.size() - 4;
    return entry.substr(end) == ".npy" ? entry.substr(0, end) : entry;
}

void check(const std::string &name, const Header &header, const Shape &expected) {
    if (header.kind == FLOAT32 && header.shape == expected &&
        (!header.is_fortran_order || expected.size() < 2))
        return;
    throw std::invalid_argument(name + ": expected float32 of " + shape_text(expected) +
                                ", found " + ascii_text(header.kind) + " of " +
                                shape_text(header.shape) +
                                (header.is_fortran_order ? " in Fortran's order" : ""));
}

std::vector<float> values(const std::string &name, const ZipEntry &entry, const Header &header) {
    size_t bytes = sizeof(float);
    for (int64_t side : header.shape)
        if (__builtin_mul_overflow(bytes, static_cast<size_t>(side), &bytes)) bytes = SIZE_MAX;
    if (bytes != entry.size - header.begin)
        throw std::invalid_argument(name + " has another size than its header says");
    std::vector<float> found(bytes / sizeof(float));
    if (bytes > 0) std::memcpy(found.data(), entry.data + header.begin, bytes);
    return found;
}

}  // namespace

std::map<std::string, std::vector<float>> read_npz(const std::vector<uint8_t> &file,
                                                   const std::map<std::string, Shape> &expected) {
    std::map<std::string, ZipEntry> entries;
    for (const ZipEntry &entry : read_zip(file))
        if (!entries.emplace(array_name(entry.name), entry).second)
            throw std::invalid_argument("an array is there twice");
    for (const auto &[name, entry] : entries)
        if (expected.count(name) == 0)
            throw std::invalid_argument("it holds " + ascii_text(name) + " besides");
    std::map<std::string, Header> headers;
    for (const auto &[name, shape] : expected) {
        const auto at = entries.find(name);
        if (at == entries.end()) throw std::invalid_argument("it holds no " + name);
        try {
            headers[name] = read_header(at->second);
        } catch (const std::invalid_argument &error) {
            throw std::invalid_argument(name + " is no array (" + error.what() + ")");
        }
        check(name, headers[name], shape);
    }
    std::map<std::string, std::vector<float>> found;
    for (const auto &[name, header] : headers) found[name] = values(name, entries[name], header);
    return found;
}

}  // namespace pcsr
