#include "bundle/json.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace pcsr {

namespace {

constexpr size_t MOST_DEPTH = 30; /* of a value in the outermost one: 32 levels with both ends */

[[noreturn]] void refuse(const std::string &reason) { throw std::invalid_argument(reason); }

/* In UTF-8, which the parser has checked: C0, DEL, C1, and the separators of lines. */
bool is_printable(const std::string &text) {
    const auto byte = [&text](size_t at) {
        return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
    };
    for (size_t i = 0; i < text.size(); i++) {
        if (byte(i) < 0x20 || byte(i) == 0x7F) return false;
        if (byte(i) == 0xC2 && byte(i + 1) < 0xA0) return false;
        if (byte(i) == 0xE2 && byte(i + 1) == 0x80 && (byte(i + 2) | 1) == 0xA9) return false;
    }
    return true;
}

/* Makes the values of what the parser reads, and refuses what a bundle does not have. */
class Reader {
public:
    using number_integer_t = Json::number_integer_t;
    using number_unsigned_t = Json::number_unsigned_t;
    using number_float_t = Json::number_float_t;
    using string_t = Json::string_t;
    using binary_t = Json::binary_t;

    Json root;

    bool null() { return add(nullptr); }
    bool boolean(bool value) { return add(value); }
    bool number_integer(number_integer_t value) { return add(value); }

    bool number_unsigned(number_unsigned_t value) {
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
            refuse_digits(std::to_string(value).size());
        return add(static_cast<int64_t>(value));
    }

    bool number_float(number_float_t value, const string_t &digits) {
        /* The parser takes integers of more than 64 bits for these. */
        if (digits.find_first_of(".eE") == string_t::npos) refuse_digits(digits.size());
        return add(value);
    }

    bool string(string_t &value) {
        check_text(value);
        return add(std::move(value));
    }

    bool binary(binary_t &) { return false; } /* JSON has none */
    bool start_object(size_t) { return open(Json::object()); }
    bool start_array(size_t) { return open(Json::array()); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool key(string_t &name) {
        check_depth();
        check_text(name);
        const auto added = open_.back()->emplace(std::move(name), nullptr);
        if (!added.second) refuse("it holds a key twice");
        member_ = &*added.first;
        return true;
    }

    bool parse_error(size_t position, const std::string &token, const Json::exception &error) {
        constexpr int NUMBER_OVERFLOW = 406;
        if (error.id == NUMBER_OVERFLOW) refuse("it holds the number " + token.substr(0, 20));
        refuse("it is not JSON: at byte " + std::to_string(position));
    }

private:
    std::vector<Json *> open_;
    Json *member_ = nullptr; /* of the innermost object, to be filled in */

    [[noreturn]] static void refuse_digits(size_t count) {
        refuse("it holds a number of " + std::to_string(count) + " digits");
    }

    static void check_text(const std::string &text) {
        if (!is_printable(text)) refuse("it holds control characters in a text");
    }

    void check_depth() const {
        if (open_.size() > MOST_DEPTH) refuse("it has more than 32 levels");
    }

    Json *place(Json value) {
        check_depth();
        if (open_.empty()) return &(root = std::move(value));
        if (open_.back()->is_object()) return &(*member_ = std::move(value));
        open_.back()->push_back(std::move(value));
        return &open_.back()->back();
    }

    bool add(Json value) { return place(std::move(value)) != nullptr; }

    bool open(Json value) {
        open_.push_back(place(std::move(value)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }
};

}  // namespace

Json parse_json(const std::vector<uint8_t> &data) {
    static const uint8_t MARK[] = {0xEF, 0xBB, 0xBF};
    /* The parser skips this mark, and takes a zero for the end. */
    const bool is_marked = data.size() >= 3 && std::equal(MARK, MARK + 3, data.begin());
    if (is_marked || std::find(data.begin(), data.end(), 0) != data.end())
        refuse("it is not JSON: it holds a byte order mark or a zero");
    Reader reader;
    Json::sax_parse(data, &reader);
    return std::move(reader.root);
}

}  // namespace pcsr
