#include "passes_view.h"

#include <algorithm>

namespace pcsr {

PassesView::PassesView(const std::vector<Mlp> &mlps, bool has_classifier, const Grid &grid,
                       int32_t depth)
    : has_classifier_(has_classifier), rows_(grid.rows.view()), columns_(grid.columns.view()) {
    int32_t widest = depth, dense = 0;
    for (const Mlp &mlp : mlps) {
        std::vector<float> constant(mlp.bias.size());
        for (size_t c = 0; c < constant.size(); c++) {
            float cell = mlp.cell_weight[2 * c] * grid.rows.cell +
                         mlp.cell_weight[2 * c + 1] * grid.columns.cell;
            constant[c] = mlp.bias[c] + cell;
        }
        constants_.push_back(std::move(constant));
        widest = std::max(widest, *std::max_element(mlp.widths.begin(), mlp.widths.end()));
        dense = std::max(dense, mlp.widths[0]);
        views_.push_back({static_cast<int32_t>(mlp.widths.size() - 1), mlp.widths.data(),
                          mlp.feature_weight.data(), mlp.row_weight.data(),
                          mlp.column_weight.data(), constants_.back().data(), mlp.rest.data(),
                          nullptr, nullptr, mlp.neighbours, mlp.has_base});
    }
    scratch_floats_ = pcsr_scratch(widest, dense);
}

}  // namespace pcsr
