#include "bundle/mlps.h"

#include <cmath>
#include <map>
#include <stdexcept>
#include <string>

#include "bundle/npz.h"

namespace pcsr {

using Arrays = std::map<std::string, std::vector<float>>;

/* Which arrays of which shapes an MLP has. widths: hidden ones, then the outputs. */
static void expect(const std::string &role, int32_t depth, const std::vector<int32_t> &widths,
                   std::map<std::string, Shape> &shapes) {
    const int32_t first = widths[0];
    shapes[role + ".feature_weight"] = {first, depth};
    for (const char *name : {".row_weight", ".column_weight", ".bias"})
        shapes[role + name] = {first};
    shapes[role + ".cell_weight"] = {first, 2};
    for (size_t i = 1; i < widths.size(); i++) {
        const std::string layer = std::to_string(i);
        shapes[role + ".weight_" + layer] = {widths[i], widths[i - 1]};
        shapes[role + ".bias_" + layer] = {widths[i]};
    }
}

static void check_finite(const Arrays &arrays) {
    for (const auto &[name, values] : arrays)
        for (float value : values)
            if (!std::isfinite(value))
                throw std::invalid_argument(name + " holds NaN or infinite values");
}

static Mlp packed(const std::string &role, const std::vector<int32_t> &widths, Arrays &arrays) {
    Mlp mlp;
    mlp.widths = widths;
    mlp.feature_weight = std::move(arrays.at(role + ".feature_weight"));
    mlp.row_weight = std::move(arrays.at(role + ".row_weight"));
    mlp.column_weight = std::move(arrays.at(role + ".column_weight"));
    mlp.cell_weight = std::move(arrays.at(role + ".cell_weight"));
    mlp.bias = std::move(arrays.at(role + ".bias"));
    for (size_t i = 1; i < widths.size(); i++)
        for (const char *part : {".weight_", ".bias_"}) {
            const std::vector<float> &values = arrays.at(role + part + std::to_string(i));
            mlp.rest.insert(mlp.rest.end(), values.begin(), values.end());
        }
    return mlp;
}

std::vector<Mlp> read_mlps(const Manifest &manifest, const std::vector<uint8_t> &file) {
    const std::vector<Upsampler> &upsamplers = manifest.upsamplers;
    const std::vector<std::string> roles = mlp_roles(upsamplers.size());
    const size_t classifiers = roles.size() - upsamplers.size(); /* 0 or 1 */
    std::vector<std::vector<int32_t>> widths;
    if (classifiers > 0) {
        widths.push_back(manifest.classifier_widths.value());
        widths.back().push_back(classifier_outputs(upsamplers.size()));
    }
    for (const Upsampler &upsampler : upsamplers) {
        widths.push_back(upsampler.widths);
        widths.back().push_back(3);
    }
    std::map<std::string, Shape> shapes;
    for (size_t i = 0; i < roles.size(); i++)
        expect(roles[i], manifest.feature_width, widths[i], shapes);
    Arrays arrays = read_npz(file, shapes);
    check_finite(arrays);
    std::vector<Mlp> mlps;
    for (size_t i = 0; i < roles.size(); i++) {
        mlps.push_back(packed(roles[i], widths[i], arrays));
        if (i < classifiers) continue;
        mlps.back().neighbours = upsamplers[i - classifiers].neighbours;
        mlps.back().has_base = upsamplers[i - classifiers].has_base;
    }
    return mlps;
}

}  // namespace pcsr
