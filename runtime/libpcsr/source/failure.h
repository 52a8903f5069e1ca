/* What is thrown inside the library; the C surface turns it into a status and a message. */
#pragma once
#include <exception>
#include <locale>
#include <sstream>
#include <string>
#include <utility>

#include "pcsr/pcsr.h"

namespace pcsr {

/* A number in a message, whatever the locale of the process is. */
inline std::string shown(double number) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text << number;
    return text.str();
}

/* A call that cannot go on. The message is one line: expected, found, what to do. */
class Failure : public std::exception {
public:
    Failure(pcsr_status status, std::string message)
        : status_(status), message_(std::move(message)) {}
    pcsr_status status() const { return status_; }
    const char *what() const noexcept override { return message_.c_str(); }

private:
    pcsr_status status_;
    std::string message_;
};

}  // namespace pcsr
