#include "limits.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace pcsr {
namespace {

const std::string CGROUP = "/sys/fs/cgroup", PROCESS = "/proc/self/";
using Number = std::optional<double>;

/* A file of numbers, as the system writes them whatever the locale of the process is. */
std::ifstream opened(const std::string &file) {
    std::ifstream stream(file);
    stream.imbue(std::locale::classic());
    return stream;
}

/* The number in a file; none where it is not there, or says "max". */
Number number(const std::string &file) {
    double value = 0;
    std::ifstream stream = opened(file);
    return stream >> value ? Number(value) : std::nullopt;
}

/* The number behind a name, where a line begins with that. */
Number number_behind(const std::string &file, const std::string &name) {
    std::ifstream stream = opened(file);
    std::string line, word;
    while (std::getline(stream, line)) {
        std::istringstream words(line);
        words.imbue(std::locale::classic());
        double value = 0;
        if (words >> word && word == name && words >> value) return value;
    }
    return std::nullopt;
}

void keep_least(Number &least, Number value) {
    if (value && (!least || *value < *least)) least = value;
}

/* The folders of the process's group and of those above it. controller: "" of v2. */
std::vector<std::string> groups(const std::string &controller) {
    std::string base = CGROUP + (controller.empty() ? "" : "/" + controller), line;
    std::vector<std::string> found{base};
    std::ifstream stream = opened(PROCESS + "cgroup");
    while (std::getline(stream, line)) {
        size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
        if (names.find("," + controller + ",") == std::string::npos) continue;
        std::istringstream parts(line.substr(second + 1));
        std::string part, path = base;
        while (std::getline(parts, part, '/'))
            if (!part.empty() && part != "." && part != "..") found.push_back(path += "/" + part);
        break;
    }
    return found;
}

Number left_in(const std::string &group, const char *limit, const char *used,
               const char *droppable) {
    Number most = number(group + "/" + limit), taken = number(group + "/" + used);
    Number cache = number_behind(group + "/memory.stat", droppable);
    if (!most || !taken || !cache) return std::nullopt;
    return std::max(0.0, *most - *taken + *cache);
}

Number left_of(__rlimit_resource resource, const char *name) {
    rlimit limit;
    Number taken_kib = number_behind(PROCESS + "status", name);
    if (getrlimit(resource, &limit) || limit.rlim_cur == RLIM_INFINITY || !taken_kib)
        return std::nullopt;
    return std::max(0.0, static_cast<double>(limit.rlim_cur) - 1024 * *taken_kib);
}

}  // namespace

int usable_cores() {
    int there = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) there = std::max(1, CPU_COUNT(&set));
    Number cores;
    for (const std::string &group : groups("")) {
        std::ifstream stream = opened(group + "/cpu.max");
        double quota = 0, period = 0;
        if (stream >> quota >> period && period > 0) keep_least(cores, quota / period);
    }
    for (const std::string &group : groups("cpu")) {
        Number quota = number(group + "/cpu.cfs_quota_us");
        Number period = number(group + "/cpu.cfs_period_us");
        if (quota && *quota >= 0 && period && *period > 0) keep_least(cores, *quota / *period);
    }
    return cores ? std::min(there, std::max(1, static_cast<int>(std::ceil(*cores)))) : there;
}

int64_t available_bytes() {
    Number free;
    if (Number kib = number_behind("/proc/meminfo", "MemAvailable:")) free = *kib * 1024;
    for (const std::string &group : groups(""))
        for (const char *limit : {"memory.max", "memory.high"})
            keep_least(free, left_in(group, limit, "memory.current", "inactive_file"));
    for (const std::string &group : groups("memory"))
        keep_least(free, left_in(group, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                 "total_inactive_file"));
    keep_least(free, left_of(RLIMIT_AS, "VmSize:"));
    keep_least(free, left_of(RLIMIT_DATA, "VmData:"));
    return static_cast<int64_t>(free.value_or(4.0 * 1024 * 1024 * 1024));
}

}  // namespace pcsr
