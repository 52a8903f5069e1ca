/* Reads ONNX files as those of a bundle, and says what their values take:
       read_graph [--output NAME RESULT] FILE...
   One line for each file: "ok NODES", then per size of image its verdict; or "refused: REASON".
   --output writes the model that gives this one output, for the last file. */
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "onnx/graph.h"

namespace {

constexpr pcsr::Limits IMAGE = {1 << 19, 1 << 26, 1 << 16, 512};
constexpr std::pair<int64_t, int64_t> SIZES[] = {{1, 1}, {37, 53}, {64, 48}, {2000, 1500}};

std::vector<uint8_t> bytes(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string hex(const std::string &name) {
    std::string result;
    char digits[3];
    for (const char each : name) {
        std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(each));
        result += digits;
    }
    return result;
}

/* " SIZE PEAK NAME=1,3,8,8;...", names in hexadecimal digits; or " SIZE refused". */
std::string verdict(const pcsr::Graph &graph, int64_t height, int64_t width) {
    std::string line = " " + std::to_string(height) + "x" + std::to_string(width) + " ";
    try {
        if (graph.inputs != std::vector<std::string>{"image"})
            throw std::invalid_argument("it takes no image");
        const pcsr::Estimate found =
            pcsr::estimate(graph, {{"image", {1, 3, height, width}}}, height * width, IMAGE);
        line += std::to_string(found.peak) + " ";
        for (const auto &[name, shape] : found.outputs) {
            line += hex(name) + "=";
            for (const int64_t side : shape) line += std::to_string(side) + ",";
            line += ";";
        }
        return line;
    } catch (const std::invalid_argument &) {
        return line + "refused";
    }
}

std::string line_of(const std::string &path, const std::string &output, const char *result) {
    try {
        const pcsr::Graph graph = pcsr::read_graph(bytes(path));
        std::string line = "ok " + std::to_string(graph.nodes.size());
        for (const auto &[height, width] : SIZES) line += verdict(graph, height, width);
        for (const std::string &name : graph.outputs) pcsr::with_output(graph, name);
        if (!result) return line;
        const std::vector<uint8_t> model = pcsr::with_output(graph, output);
        std::ofstream(result, std::ios::binary)
            .write(reinterpret_cast<const char *>(model.data()),
                   static_cast<std::streamsize>(model.size()));
        return line;
    } catch (const std::invalid_argument &error) {
        return std::string("refused: ") + error.what();
    }
}

}  // namespace

int main(int count, char **arguments) {
    int first = 1;
    std::string output;
    const char *result = nullptr;
    if (count > 3 && arguments[1] == std::string("--output")) {
        output = arguments[2];
        result = arguments[3];
        first = 4;
    }
    try {
        for (int i = first; i < count; i++)
            std::printf("%s\n", line_of(arguments[i], output, result).c_str());
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
