#include "bundle/zip.h"

#include <array>
#include <stdexcept>

#include "bundle/text.h"

namespace pcsr {

namespace {

constexpr size_t MOST_ENTRIES = 4096;
constexpr uint16_t STORED = 0, UTF_8 = 0x0800; /* a method, and the one flag that may be set */
constexpr uint32_t ELSEWHERE = 0xFFFFFFFF;     /* a size that the extra field holds */
constexpr uint16_t NEWEST = 63;                /* version of the format */
constexpr uint16_t LARGE = 1;                  /* the extra field of large sizes */

[[noreturn]] void refuse(const std::string &reason) {
    throw std::invalid_argument("no .npz file: " + reason);
}

/* A part of the file, read from its start. */
class Bytes {
public:
    Bytes(const uint8_t *data, size_t size) : data_(data), size_(size) {}
    size_t size() const { return size_; }

    uint16_t u16() { return static_cast<uint16_t>(number(2)); }
    uint32_t u32() { return static_cast<uint32_t>(number(4)); }
    uint64_t u64() { return number(8); }

    Bytes take(size_t count) {
        if (count > size_) refuse("it ends in the middle of an entry");
        const Bytes taken(data_, count);
        data_ += count;
        size_ -= count;
        return taken;
    }

    std::string text() const { return {reinterpret_cast<const char *>(data_), size_}; }
    const uint8_t *data() const { return data_; }

private:
    const uint8_t *data_;
    size_t size_;

    uint64_t number(size_t width) {
        const Bytes taken = take(width);
        uint64_t value = 0;
        for (size_t i = width; i-- > 0;) value = value << 8 | taken.data_[i];
        return value;
    }
};

/* What is said of an entry in front of it and in the directory. */
struct Header {
    uint16_t flags, method;
    uint32_t checksum;
    uint64_t packed, size;
    std::string name;
    uint32_t offset = 0; /* in the directory alone */
};

void check_signature(Bytes &bytes, uint32_t expected) {
    if (bytes.u32() != expected) refuse("its entries are damaged");
}

void read_facts(Bytes &bytes, Header &header) {
    if ((bytes.u16() & 0xFF) > NEWEST) refuse("it is of a newer version");
    header.flags = bytes.u16();
    header.method = bytes.u16();
    bytes.take(4); /* time and date */
    header.checksum = bytes.u32();
    header.packed = bytes.u32();
    header.size = bytes.u32();
}

/* Sizes that numpy.savez writes as if they were large. */
void read_large_sizes(Bytes extra, Header &header) {
    if (header.size != ELSEWHERE || header.packed != ELSEWHERE) return;
    while (extra.size() > 0) {
        const uint16_t kind = extra.u16(), length = extra.u16();
        Bytes content = extra.take(length);
        if (kind != LARGE) continue;
        header.size = content.u64();
        header.packed = content.u64();
        return;
    }
}

Header read_local(Bytes &bytes) {
    Header header;
    check_signature(bytes, 0x04034B50);
    read_facts(bytes, header);
    const uint16_t name = bytes.u16(), extra = bytes.u16();
    header.name = bytes.take(name).text();
    read_large_sizes(bytes.take(extra), header);
    return header;
}

Header read_listed(Bytes &directory) {
    Header header;
    check_signature(directory, 0x02014B50);
    directory.take(2); /* the version that wrote it */
    read_facts(directory, header);
    const uint16_t name = directory.u16(), extra = directory.u16(), comment = directory.u16();
    directory.take(8); /* disk and attributes */
    header.offset = directory.u32();
    header.name = directory.take(name).text();
    directory.take(size_t{extra} + comment);
    return header;
}

void check_kind(const Header &header) {
    if ((header.flags & ~UTF_8) == 0 && header.method == STORED && header.packed == header.size)
        return;
    throw std::invalid_argument(ascii_text(header.name) +
                                " is compressed, or packed in another way; this library reads "
                                "uncompressed arrays, as pcsr-export writes them");
}

bool is_same(const Header &a, const Header &b) {
    return a.flags == b.flags && a.method == b.method && a.checksum == b.checksum &&
           a.packed == b.packed && a.size == b.size && a.name == b.name;
}

uint32_t checksum(const Bytes &bytes) {
    static const std::array<uint32_t, 256> TABLE = [] {
        std::array<uint32_t, 256> table{};
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            table[i] = value;
        }
        return table;
    }();
    uint32_t value = ~0u;
    for (size_t i = 0; i < bytes.size(); i++)
        value = value >> 8 ^ TABLE[(value ^ bytes.data()[i]) & 0xFF];
    return ~value;
}

struct Directory {
    Bytes entries, listed;
    size_t count;
};

Directory find_directory(const std::vector<uint8_t> &file) {
    constexpr size_t END = 22;
    if (file.size() < END) refuse("it is too short");
    Bytes whole(file.data(), file.size());
    Bytes before = whole.take(file.size() - END);
    if (whole.u32() != 0x06054B50) refuse("it does not end as one");
    const bool is_one_disk = whole.u32() == 0;
    const size_t here = whole.u16(), count = whole.u16(), size = whole.u32(), at = whole.u32();
    if (!is_one_disk || here != count || whole.u16() != 0 || at + size != before.size())
        refuse("its directory is damaged");
    if (count > MOST_ENTRIES)
        throw std::invalid_argument("it has more than " + std::to_string(MOST_ENTRIES) + " arrays");
    Bytes entries = before.take(at);
    return {entries, before, count};
}

}  // namespace

std::vector<ZipEntry> read_zip(const std::vector<uint8_t> &file) {
    Directory directory = find_directory(file);
    Bytes &entries = directory.entries;
    std::vector<ZipEntry> found;
    for (size_t i = 0; i < directory.count; i++) {
        const Header listed = read_listed(directory.listed);
        check_kind(listed);
        if (listed.offset != static_cast<size_t>(entries.data() - file.data()))
            refuse("its entries do not follow one another");
        if (!is_same(listed, read_local(entries))) refuse("an entry is described in two ways");
        const Bytes content = entries.take(listed.size);
        if (checksum(content) != listed.checksum)
            refuse(ascii_text(listed.name) + " has another checksum");
        found.push_back({listed.name, content.data(), content.size()});
    }
    if (entries.size() > 0 || directory.listed.size() > 0) refuse("it holds more than its entries");
    return found;
}

}  // namespace pcsr
