#include "bundle/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "bundle/text.h"
#include "failure.h"

namespace pcsr {

namespace fs = std::filesystem;

bool FileError::is_absent() const { return code_ == ENOENT || code_ == ENOTDIR; }

static FileError file_error(int code) {
    if (code == EMFILE || code == ENFILE || code == ENOMEM) /* no fault of the file */
        throw Failure(PCSR_ERROR_MEMORY, "a bundle's file cannot be opened (" +
                                             std::generic_category().message(code) +
                                             "); close others, or raise the limit (ulimit -n)");
    return FileError(code, std::generic_category().message(code));
}

namespace {

class Descriptor {
public:
    explicit Descriptor(const std::string &path)
        : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (number_ < 0) throw file_error(errno);
    }
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
    ~Descriptor() { ::close(number_); }
    int number() const { return number_; }

private:
    int number_;
};

}  // namespace

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a named pipe";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    return S_ISSOCK(mode) ? "a socket" : "no file";
}

static void check_size(size_t bytes, size_t most_bytes) {
    if (bytes > most_bytes)
        throw FileError(0, "it has " + grouped(bytes) + " bytes, expected at most " +
                               grouped(most_bytes));
}

/* Up to `end` bytes, one of which tells that the file grew. */
static std::vector<uint8_t> content(int descriptor, size_t expected, size_t end) {
    std::vector<uint8_t> data;
    data.resize(std::min(expected + 1, end));
    size_t length = 0;
    for (;;) {
        if (length == data.size()) {
            if (length == end) break;
            data.resize(std::min(2 * length, end));
        }
        const ssize_t count = ::read(descriptor, data.data() + length, data.size() - length);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw file_error(errno);
        if (count == 0) break;
        length += static_cast<size_t>(count);
    }
    data.resize(length);
    return data;
}

std::vector<uint8_t> read_file(const std::string &path, size_t most_bytes) {
    if (path.find('\0') != std::string::npos) throw FileError(0, "its name is no file's");
    const Descriptor file(path);
    struct stat status {};
    if (::fstat(file.number(), &status) != 0) throw file_error(errno);
    if (!S_ISREG(status.st_mode))
        throw FileError(0, std::string("it is ") + kind_of(status.st_mode) +
                               ", expected an ordinary file");
    const auto stated = static_cast<size_t>(status.st_size);
    check_size(stated, most_bytes);
    std::vector<uint8_t> data = content(file.number(), stated, most_bytes + 1);
    check_size(data.size(), most_bytes);
    return data;
}

static fs::path resolved(const fs::path &path) {
    std::error_code code;
    fs::path found = fs::weakly_canonical(path, code);
    if (code) throw FileError(code.value(), code.message());
    return found.has_filename() ? found : found.parent_path(); /* "a/" is "a", as in Python */
}

std::string inside(const std::string &root, const std::string &name) {
    const fs::path top = resolved(root), file = resolved(fs::path(root) / name);
    const auto ends = std::mismatch(top.begin(), top.end(), file.begin(), file.end());
    if (ends.first != top.end()) throw std::invalid_argument("it lies outside the bundle");
    return file.string();
}

std::string sha256(const std::vector<uint8_t> &data) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (!EVP_Digest(data.data(), data.size(), digest, &length, EVP_sha256(), nullptr))
        throw Failure(PCSR_ERROR_INTERNAL, "libcrypto does not compute SHA-256");
    std::string text;
    for (unsigned int i = 0; i < length; i++)
        for (int shift : {4, 0}) text += "0123456789abcdef"[digest[i] >> shift & 15];
    return text;
}

}  // namespace pcsr
