/* A bundle on disk, as docs/bundle.md describes it. Everything is checked before it is used. */
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "onnx/graph.h"

namespace pcsr {

struct Upsampler {
    std::vector<int32_t> widths; /* hidden ones of its MLP */
    int32_t neighbours = 1;      /* 1 or 4 */
    bool has_base = true;        /* bilinear, or none */
};

/* A folded MLP of mlps.npz. */
struct Mlp {
    std::vector<int32_t> widths; /* C of the first layer, then the outputs of each layer behind */
    std::vector<float> feature_weight; /* [C][D] */
    std::vector<float> row_weight, column_weight, bias; /* [C] */
    std::vector<float> cell_weight;                     /* [C][2] */
    std::vector<float> rest; /* behind the first: weight [outputs][inputs], bias [outputs], ... */
    int32_t neighbours = 1;
    bool has_base = true;
};

class Bundle {
public:
    /* Reads and checks the manifest. Throws Failure (PCSR_ERROR_BUNDLE). */
    explicit Bundle(const std::string &directory);

    std::string path;
    bool is_plain = false;
    double trained_scale = 1;
    bool refine = true;
    int32_t feature_width = 0;          /* D */
    std::vector<Upsampler> upsamplers;  /* heaviest first; none of a plain network */
    std::optional<std::vector<int32_t>> classifier_widths;
    std::optional<int32_t> receptive_radius_px; /* none: the backbone looks everywhere */
    int64_t working_bytes_per_px = 1;
    int32_t size_multiple = 1;
    double backbone_flops = 0;          /* of a 16x16 input */
    std::vector<double> upsampler_flops; /* per output pixel */

    /* Whether there is a set of graphs: "fp32", "int8-cpu", ... */
    bool has_precision(const std::string &precision) const;

    /* The ONNX file of the graph that takes the image, `backbone` or `network`: its hash, its
       contents and its shapes were checked. */
    Graph image_graph(const std::string &precision) const;

    /* Checks what that graph makes of an image, before it runs. Throws Failure where it takes more
       memory or work than it may, or gives other shapes than the manifest states. */
    void foresee(const Graph &graph, const std::string &precision, int32_t height,
                 int32_t width) const;

    /* The MLPs: the classifier first where there are two upsamplers or more, then from heavy to
       light. Throws Failure where they are damaged, or do not fit. */
    std::vector<Mlp> mlps() const;

private:
    struct Tensor {
        std::string name, dtype;
        std::vector<std::string> shape; /* numbers and symbols as they are written */
    };
    struct GraphEntry {
        std::string file, sha256;
        std::vector<Tensor> inputs, outputs;
    };
    struct FileEntry {
        std::string file, sha256;
    };
    std::map<std::string, std::map<std::string, GraphEntry>> graphs_; /* precision, role */
    std::optional<FileEntry> mlps_;
};

}  // namespace pcsr
