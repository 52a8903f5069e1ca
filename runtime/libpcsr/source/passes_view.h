/* The MLPs and the grid of one run, as the compiled passes take them. */
#pragma once
#include <vector>

#include "bundle/bundle.h"
#include "compiled_passes.h"
#include "grid.h"

namespace pcsr {

class PassesView {
public:
    PassesView(const std::vector<Mlp> &mlps, bool has_classifier, const Grid &grid, int32_t depth);

    const pcsr_mlp *classifier() const { return &views_[0]; }
    const pcsr_mlp *upsamplers() const { return &views_[has_classifier_]; }
    int32_t count() const { return static_cast<int32_t>(views_.size() - has_classifier_); }
    int64_t scratch_floats() const { return scratch_floats_; }
    const pcsr_axis &rows() const { return rows_; }
    const pcsr_axis &columns() const { return columns_; }

private:
    size_t has_classifier_;
    pcsr_axis rows_, columns_;
    std::vector<std::vector<float>> constants_;
    std::vector<pcsr_mlp> views_;
    int64_t scratch_floats_;
};

}  // namespace pcsr
