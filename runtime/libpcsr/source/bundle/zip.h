/* Zip files of stored entries, as numpy.savez writes them. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pcsr {

struct ZipEntry {
    std::string name;
    const uint8_t *data; /* within the file */
    size_t size;
};

/* The entries of a file, which has to stay in memory. Nothing may lie between them, before them, or
   behind their directory, and each is described alike in both places. Throws std::invalid_argument
   where it is not so, where one is compressed, or where its checksum differs. */
std::vector<ZipEntry> read_zip(const std::vector<uint8_t> &file);

}  // namespace pcsr
