#include "bundle/bundle.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <new>
#include <utility>

#include "bundle/files.h"
#include "bundle/mlps.h"
#include "bundle/text.h"
#include "failure.h"
#include "onnx/shapes.h"

namespace pcsr {

namespace {

constexpr const char *MANIFEST = "manifest.json";
constexpr size_t MOST_MANIFEST_BYTES = size_t{4} << 20;
constexpr size_t MOST_FILE_BYTES = size_t{256} << 20;
constexpr int64_t PROBE_HEIGHT = 64, PROBE_WIDTH = 48; /* not square: a turned result would fit */
constexpr int64_t BYTES_PER_VALUE = 4;
constexpr int64_t MOST_OVER_MANIFEST = 2; /* padded channels and casts come on top */
constexpr int64_t LEAST_PADDED = 16;
constexpr Limits IMAGE_LIMITS = {1 << 19, 1 << 26, 1 << 16, 512};

using Outputs = std::vector<std::pair<std::string, Shape>>;

std::string file_path(const std::string &directory, const std::string &file) {
    return (std::filesystem::path(directory) / file).string();
}

/* Calls a function, and turns whatever is wrong with a file into a Failure: "FILE WHAT (reason);
   export the bundle again". */
template <typename Function>
auto refusing(const std::string &file, const std::string &what, const Function &function) {
    try {
        return function();
    } catch (const Failure &) {
        throw;
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &error) {
        throw Failure(PCSR_ERROR_BUNDLE,
                      file + what + " (" + shortened(error.what()) + "); export the bundle again");
    }
}

/* Without slashes at its end, and not empty. */
std::string folder(const std::string &directory) {
    if (directory.empty()) return ".";
    const size_t last = directory.find_last_not_of('/');
    return last == std::string::npos ? "/" : directory.substr(0, last + 1);
}

std::vector<uint8_t> manifest_bytes(const std::string &directory) {
    const std::filesystem::path path(directory);
    return refusing(file_path(directory, MANIFEST), " cannot be read", [&] {
        try {
            return read_file(inside(directory, MANIFEST), MOST_MANIFEST_BYTES);
        } catch (const FileError &error) {
            if (!error.is_absent()) throw;
            if (path.filename() == MANIFEST)
                throw Failure(PCSR_ERROR_BUNDLE,
                              directory + " is inside a bundle; pass its folder " +
                                  folder(path.parent_path().string()));
            throw Failure(PCSR_ERROR_BUNDLE,
                          directory + " is not a bundle (no " + MANIFEST +
                              "); make one with pcsr-export --ckpt FILE -o DIR");
        }
    });
}

Manifest load(const std::string &directory) {
    const std::string file = file_path(directory, MANIFEST);
    return refusing(file, " is damaged",
                    [&] { return read_manifest(manifest_bytes(directory), file); });
}

std::string outputs_text(const Outputs &outputs) {
    std::vector<std::string> texts;
    for (const auto &[name, shape] : outputs)
        texts.push_back("'" + name + "': " + shape_text(shape));
    return "{" + joined(texts) + "}";
}

/* The side that a graph may pad one of an image to. */
int64_t padded(int64_t side, int64_t multiple) {
    return std::max(LEAST_PADDED, (side + multiple - 1) / multiple * multiple);
}

}  // namespace

Bundle::Bundle(const std::string &directory)
    : Manifest(load(folder(directory))), path(folder(directory)) {}

bool Bundle::has_precision(const std::string &precision) const {
    return graphs.count(precision) > 0;
}

const GraphEntry &Bundle::image_entry(const std::string &precision) const {
    const auto set = graphs.find(precision);
    if (set != graphs.end()) return set->second.at(is_plain ? "network" : "backbone");
    std::vector<std::string> found;
    for (const auto &each : graphs) found.push_back(each.first);
    throw Failure(PCSR_ERROR_BUNDLE,
                  path + " has no " + precision + " graphs (it has: " + joined(found) +
                      "); pcsr-export --precision adds fp16 and bf16, pcsr-calibrate precision "
                      "int8 and fp8");
}

std::vector<uint8_t> Bundle::checked(const FileEntry &entry) const {
    const std::string file = file_path(path, entry.file);
    std::vector<uint8_t> data = refusing(file, " cannot be read", [&] {
        return read_file(inside(path, entry.file), MOST_FILE_BYTES);
    });
    const std::string found = sha256(data);
    if (found != entry.sha256)
        throw Failure(PCSR_ERROR_BUNDLE, file + " is damaged: sha256 " +
                                             first_characters(found, 12) + "… instead of " +
                                             first_characters(entry.sha256, 12) +
                                             "…; export the bundle again");
    return data;
}

Graph Bundle::image_graph(const std::string &precision) const {
    const GraphEntry &entry = image_entry(precision);
    const std::string what = is_plain ? " is no network graph" : " is no backbone graph";
    return refusing(file_path(path, entry.file), what + " of a bundle", [&] {
        Graph graph = read_graph(checked(entry));
        check_image(graph, precision, PROBE_HEIGHT, PROBE_WIDTH);
        return graph;
    });
}

void Bundle::foresee(const Graph &graph, const std::string &precision, int32_t height,
                     int32_t width) const {
    refusing(file_path(path, image_entry(precision).file), " cannot run",
             [&] { check_image(graph, precision, height, width); });
}

void Bundle::check_image(const Graph &graph, const std::string &precision, int64_t height,
                         int64_t width) const {
    const std::vector<TensorEntry> &listed = image_entry(precision).outputs;
    Outputs expected;
    if (is_plain) {
        const auto scaled = [this](int64_t side) {
            return std::llrint(static_cast<double>(side) * trained_scale);
        };
        expected.push_back({"upscaled", {1, 3, scaled(height), scaled(width)}});
    } else {
        expected.push_back({"features", {1, feature_width, height, width}});
        for (size_t i = 1; i < listed.size(); i++)
            expected.push_back({listed[i].name, {height * width, listed[i].shape.back()}});
    }
    if (graph.inputs != std::vector<std::string>{"image"})
        throw std::invalid_argument("its inputs are " + shortened(joined(graph.inputs), 80) +
                                    " instead of image");
    int64_t pixels = height * width;
    if (size_multiple > 1) pixels = padded(height, size_multiple) * padded(width, size_multiple);
    const Estimate found =
        estimate(graph, {{"image", {1, 3, height, width}}}, pixels, IMAGE_LIMITS);
    const int64_t stated = MOST_OVER_MANIFEST * working_bytes_per_px / BYTES_PER_VALUE;
    if (found.peak > onnx::amount(stated, std::max(pixels, IMAGE_LIMITS.least_pixels)))
        throw std::invalid_argument("it needs " + std::to_string(found.peak) + " values for " +
                                    std::to_string(pixels) + " pixels, more than is stated");
    Outputs given;
    for (const std::string &name : graph.outputs) given.push_back({name, found.outputs.at(name)});
    if (given != expected)
        throw std::invalid_argument("for " + std::to_string(height) + "x" + std::to_string(width) +
                                    " pixels it gives " + outputs_text(given) + ", expected " +
                                    outputs_text(expected));
}

std::vector<Mlp> Bundle::mlps() const {
    if (!mlps_file)
        throw Failure(PCSR_ERROR_BUNDLE, path + " is a plain network without upsamplers");
    return refusing(file_path(path, mlps_file->file),
                    ": the weights of the upsamplers cannot be read",
                    [&] { return read_mlps(*this, checked(*mlps_file)); });
}

}  // namespace pcsr
