/* Text of messages: one line each, in UTF-8. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pcsr {

/* How many characters a text has, and its first ones. */
size_t character_count(const std::string &text);
std::string first_characters(const std::string &text, size_t count);

/* A text as one line of at most so many characters: for what a file says. */
std::string shortened(const std::string &text, size_t most = 300);

/* Bytes that may be no text, in ASCII and in quotation marks. */
std::string ascii_text(const std::string &bytes);

/* 1234567 as "1,234,567". */
std::string grouped(uint64_t number);

/* {"a", "b"} as "a, b". */
std::string joined(const std::vector<std::string> &texts);

/* A shape as Python writes it: "(3,)", "(1, 3, 64, 48)". */
std::string shape_text(const std::vector<int64_t> &shape);

}  // namespace pcsr
