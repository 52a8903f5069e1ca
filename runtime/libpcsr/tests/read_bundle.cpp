/* read_bundle BUNDLE ...: reads each as the library does, and prints a line: "ok" and what was
   read, or "refused: " and why. Exits with 2 where one was refused. */
#include <cstdio>
#include <exception>
#include <string>

#include "bundle/bundle.h"
#include "failure.h"

static double sum(const pcsr::Mlp &mlp) {
    double total = 0;
    for (const std::vector<float> *part : {&mlp.feature_weight, &mlp.row_weight, &mlp.column_weight,
                                           &mlp.cell_weight, &mlp.bias, &mlp.rest})
        for (float value : *part) total += static_cast<double>(value);
    return total;
}

static std::string described(const pcsr::Bundle &bundle) {
    const pcsr::Graph graph = bundle.image_graph("fp32");
    std::string text = bundle.is_plain ? "plain" : "pcsr";
    text += " nodes=" + std::to_string(graph.nodes.size());
    text += " width=" + std::to_string(bundle.feature_width);
    text += " radius=" + std::to_string(bundle.receptive_radius_px.value_or(-1));
    if (bundle.is_plain) return text;
    for (const pcsr::Mlp &mlp : bundle.mlps()) {
        text += " mlp=";
        for (int32_t width : mlp.widths) text += std::to_string(width) + ",";
        char number[40];
        std::snprintf(number, sizeof number, "%.17g", sum(mlp));
        text += number;
    }
    return text;
}

int main(int count, char **arguments) {
    int status = 0;
    for (int i = 1; i < count; i++) {
        try {
            std::printf("ok %s\n", described(pcsr::Bundle(arguments[i])).c_str());
        } catch (const pcsr::Failure &failure) {
            std::printf("refused: %s\n", failure.what());
            status = 2;
        } catch (const std::bad_alloc &) {
            std::printf("refused: out of memory\n");
            status = 2;
        }
        std::fflush(stdout);
    }
    return status;
}
