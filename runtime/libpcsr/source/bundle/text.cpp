#include "bundle/text.h"

namespace pcsr {

static bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

size_t character_count(const std::string &text) {
    size_t count = 0;
    for (char byte : text) count += !is_continuation(byte);
    return count;
}

std::string first_characters(const std::string &text, size_t count) {
    size_t end = 0;
    while (end < text.size()) {
        if (!is_continuation(text[end]) && count-- == 0) break;
        end++;
    }
    return text.substr(0, end);
}

/* Runs of control characters become a space each, none at the ends. */
static std::string one_line(const std::string &text) {
    std::string line;
    for (size_t i = 0; i < text.size(); i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool is_wide = byte == 0xC2 && i + 1 < text.size() &&
                             static_cast<unsigned char>(text[i + 1]) < 0xA0;
        i += is_wide;
        if (byte >= 0x20 && byte != 0x7F && !is_wide)
            line += text[i];
        else if (!line.empty() && line.back() != ' ')
            line += ' ';
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line.substr(line.find_first_not_of(' ') == std::string::npos
                           ? 0
                           : line.find_first_not_of(' '));
}

std::string shortened(const std::string &text, size_t most) {
    const std::string line = one_line(text);
    return character_count(line) <= most ? line : first_characters(line, most - 1) + "…";
}

std::string ascii_text(const std::string &bytes) {
    constexpr size_t MOST = 80;
    constexpr const char *DIGITS = "0123456789abcdef";
    std::string text = "'";
    for (size_t i = 0; i < bytes.size() && text.size() < MOST; i++) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        if (byte >= 0x20 && byte < 0x7F)
            text += bytes[i];
        else
            text += std::string("\\x") + DIGITS[byte >> 4] + DIGITS[byte & 15];
    }
    return text + "'";
}

std::string grouped(uint64_t number) {
    std::string digits = std::to_string(number);
    for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
    return digits;
}

std::string joined(const std::vector<std::string> &texts) {
    std::string all;
    for (const std::string &text : texts) all += (all.empty() ? "" : ", ") + text;
    return all;
}

std::string shape_text(const std::vector<int64_t> &shape) {
    std::vector<std::string> sides;
    for (int64_t side : shape) sides.push_back(std::to_string(side));
    return "(" + joined(sides) + (sides.size() == 1 ? ",)" : ")");
}

}  // namespace pcsr
