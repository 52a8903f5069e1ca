/* manifest.json, as docs/bundle.md and pcsr/manifest.schema.json describe it. */
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pcsr {

struct Upsampler {
    std::vector<int32_t> widths; /* hidden ones of its MLP */
    int32_t neighbours = 1;      /* 1 or 4 */
    bool has_base = true;        /* bilinear, or none */
};

struct TensorEntry {
    std::string name;
    std::vector<int32_t> shape; /* 0 stands for a symbol */
};

struct FileEntry {
    std::string file, sha256; /* file is relative to the bundle's directory */
};

struct GraphEntry : FileEntry {
    std::vector<TensorEntry> inputs, outputs;
};

/* What the library needs of it. */
struct Manifest {
    bool is_plain = false;
    double trained_scale = 1;
    bool refine = true;
    int32_t feature_width = 0;         /* D */
    std::vector<Upsampler> upsamplers; /* heaviest first; none of a plain network */
    std::optional<std::vector<int32_t>> classifier_widths;
    std::optional<int32_t> receptive_radius_px; /* none: the backbone looks everywhere */
    int64_t working_bytes_per_px = 1;
    int32_t size_multiple = 1;
    double backbone_flops = 0;           /* of a 16x16 input */
    std::vector<double> upsampler_flops; /* per output pixel */
    std::map<std::string, std::map<std::string, GraphEntry>> graphs; /* precision, role */
    std::optional<FileEntry> mlps_file;
};

/* Reads a manifest. Throws std::invalid_argument where it is damaged, or of another format version;
   `file` is its path, for the message. */
Manifest read_manifest(const std::vector<uint8_t> &data, const std::string &file);

/* The roles of the MLPs: "classifier" where there are two upsamplers or more, "upsampler_0", ... */
std::vector<std::string> mlp_roles(size_t upsamplers);

/* How many outputs a classifier has: that of two has one, heavy's logit less light's. */
int32_t classifier_outputs(size_t upsamplers);

}  // namespace pcsr
