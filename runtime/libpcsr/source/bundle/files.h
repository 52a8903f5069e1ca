/* Reads files that someone else may have made: ordinary files only, none larger than expected. */
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace pcsr {

/* A file that is not there or cannot be read; code is errno, or 0. */
class FileError : public std::runtime_error {
public:
    FileError(int code, const std::string &reason) : std::runtime_error(reason), code_(code) {}
    bool is_absent() const;

private:
    int code_;
};

/* Reads a whole file. Never waits for a writer, as opening a named pipe does. Throws FileError
   where there is none, it is no ordinary file, or it has more bytes than that. */
std::vector<uint8_t> read_file(const std::string &path, size_t most_bytes);

/* The file of this name below a folder, links followed. Throws std::invalid_argument where it
   lies outside the folder. */
std::string inside(const std::string &root, const std::string &name);

/* The SHA-256 in hexadecimal digits. */
std::string sha256(const std::vector<uint8_t> &data);

}  // namespace pcsr
