/* A bundle on disk, as docs/bundle.md describes it. Everything is checked before it is used. */
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "bundle/manifest.h"
#include "onnx/graph.h"

namespace pcsr {

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

/* Its manifest, and what its files hold. Every function may throw Failure (PCSR_ERROR_BUNDLE) or
   std::bad_alloc, and nothing else. */
class Bundle : public Manifest {
public:
    /* Reads and checks the manifest. */
    explicit Bundle(const std::string &directory);

    std::string path;

    /* Whether there is a set of graphs: "fp32", "int8-cpu", ... */
    bool has_precision(const std::string &precision) const;

    /* The ONNX file of the graph that takes the image, `backbone` or `network`: its hash, its
       contents and its shapes were checked. */
    Graph image_graph(const std::string &precision) const;

    /* Checks what that graph makes of an image, before it runs: that it takes no more memory and
       work than it may, and gives the shapes that the manifest states. */
    void foresee(const Graph &graph, const std::string &precision, int32_t height,
                 int32_t width) const;

    /* The MLPs: the classifier first where there are two upsamplers or more, then from heavy to
       light. */
    std::vector<Mlp> mlps() const;

private:
    const GraphEntry &image_entry(const std::string &precision) const;
    std::vector<uint8_t> checked(const FileEntry &entry) const;
    void check_image(const Graph &graph, const std::string &precision, int64_t height,
                     int64_t width) const;
};

}  // namespace pcsr
