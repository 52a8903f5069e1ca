#include "bundle/manifest.h"

#include <set>
#include <stdexcept>

#include "bundle/json.h"
#include "bundle/schema.h"
#include "bundle/text.h"
#include "failure.h"

namespace pcsr {

using Widths = std::vector<int32_t>;
using Names = std::vector<std::string>;
using Graphs = std::map<std::string, GraphEntry>;

std::vector<std::string> mlp_roles(size_t upsamplers) {
    Names roles;
    if (upsamplers > 1) roles.push_back("classifier");
    for (size_t j = 0; j < upsamplers; j++) roles.push_back("upsampler_" + std::to_string(j));
    return roles;
}

int32_t classifier_outputs(size_t upsamplers) {
    return upsamplers == 2 ? 1 : static_cast<int32_t>(upsamplers);
}

static void require(bool condition, const std::string &what) {
    if (!condition) throw std::invalid_argument("unexpected " + what);
}

static FileEntry file_entry(const Json &data) {
    return {data.at("file").get<std::string>(), data.at("sha256").get<std::string>()};
}

static std::vector<TensorEntry> tensors(const Json &data) {
    std::vector<TensorEntry> all;
    for (const Json &tensor : data) {
        TensorEntry entry{tensor.at("name").get<std::string>(), {}};
        for (const Json &side : tensor.at("shape"))
            entry.shape.push_back(side.is_string() ? 0 : side.get<int32_t>());
        all.push_back(entry);
    }
    return all;
}

static Graphs graph_entries(const Json &data) {
    Graphs all;
    for (const auto &[role, graph] : data.items())
        all[role] = {file_entry(graph), tensors(graph.at("inputs")), tensors(graph.at("outputs"))};
    return all;
}

static Names names(const std::vector<TensorEntry> &all) {
    Names found;
    for (const TensorEntry &tensor : all) found.push_back(tensor.name);
    return found;
}

static void read_model(const Json &model, Manifest &manifest) {
    manifest.feature_width = model.at("feature_width").get<int32_t>();
    for (const Json &each : model.at("upsamplers"))
        manifest.upsamplers.push_back({each.at("widths").get<Widths>(),
                                       each.at("neighbours").get<int32_t>(),
                                       each.at("base") == "bilinear"});
    const Json &widths = model.at("classifier_widths"), &radius = model.at("receptive_radius_px");
    if (!widths.is_null()) manifest.classifier_widths = widths.get<Widths>();
    if (!radius.is_null()) manifest.receptive_radius_px = radius.get<int32_t>();
    manifest.working_bytes_per_px = model.at("working_bytes_per_px").get<int64_t>();
    manifest.size_multiple = model.value("size_multiple", int32_t{1});
}

static void read_costs(const Json &costs, Manifest &manifest) {
    for (const char *name : {"upsampler_flops", "upsampler_macs"}) {
        const size_t found = costs.at(name).size(), expected = manifest.upsamplers.size();
        require(found == expected, "costs of " + std::to_string(found) +
                                       " upsamplers instead of " + std::to_string(expected));
    }
    manifest.backbone_flops = costs.at("backbone_flops").get<double>();
    manifest.upsampler_flops = costs.at("upsampler_flops").get<std::vector<double>>();
}

static void check_network(const Graphs &graphs) {
    const std::vector<TensorEntry> &outputs = graphs.at("network").outputs;
    require(names(outputs) == Names{"upscaled"}, "outputs of network");
    const auto &shape = outputs[0].shape;
    require(shape.size() == 4 && shape[1] == 3, "shape of upscaled");
}

/* A graph of rows has to take as many neighbours of a pixel as its upsampler says. */
static void check_rows(const std::vector<TensorEntry> &inputs, int32_t neighbours,
                       const std::string &role) {
    const auto ends = [&inputs](size_t i) {
        return Widths(inputs[i].shape.begin() + 1, inputs[i].shape.end());
    };
    const Widths index = neighbours == 1 ? Widths{} : Widths{4};
    const Widths offset = neighbours == 1 ? Widths{2} : Widths{4, 2};
    require(ends(1) == index && ends(2) == offset, "shapes of index and offset of " + role);
}

static void check_role(const Manifest &manifest, const std::string &role, const GraphEntry &graph,
                       const TensorEntry &map) {
    const size_t count = manifest.upsamplers.size();
    const bool is_classifier = role == "classifier";
    require(names(graph.inputs) == Names{"features", "index", "offset", "cell"},
            "inputs of " + role);
    int32_t neighbours = 1;
    if (!is_classifier)
        neighbours = manifest.upsamplers[std::stoul(role.substr(role.find('_') + 1))].neighbours;
    check_rows(graph.inputs, neighbours, role);
    const int32_t width = map.shape.back();
    require(width > 0 && graph.inputs[0].shape.back() == width, "width of " + role);
    const std::vector<TensorEntry> &outputs = graph.outputs;
    const Widths ends{is_classifier ? classifier_outputs(count) : 3};
    require(names(outputs) == Names{is_classifier ? "logits" : "residual"} &&
                Widths(outputs[0].shape.begin() + 1, outputs[0].shape.end()) == ends,
            "outputs of " + role);
}

/* Every upsampler has to be there, take what its role takes, and fit its row map. */
static void check_roles(const Manifest &manifest, const std::string &precision,
                        const Graphs &graphs) {
    const Names roles = mlp_roles(manifest.upsamplers.size());
    require(manifest.classifier_widths.has_value() == (manifest.upsamplers.size() > 1),
            "classifier_widths");
    std::set<std::string> expected(roles.begin(), roles.end()), found;
    expected.insert("backbone");
    for (const auto &graph : graphs) found.insert(graph.first);
    require(found == expected, precision + " graphs: " + joined({found.begin(), found.end()}));

    const std::vector<TensorEntry> &outputs = graphs.at("backbone").outputs;
    require(!outputs.empty() && outputs[0].shape.size() == 4, "outputs of backbone");
    require(outputs[0].shape[1] == manifest.feature_width && manifest.feature_width > 0,
            "width of features");
    Names maps{"features"};
    for (const std::string &role : roles) maps.push_back(role + "_features");
    require(names(outputs) == maps, "outputs: " + joined(names(outputs)));
    for (size_t i = 0; i < roles.size(); i++)
        check_role(manifest, roles[i], graphs.at(roles[i]), outputs[i + 1]);
}

static std::string version_text(const Json &version) {
    if (version.is_null()) return "None";
    return shortened(version.is_string() ? version.get<std::string>() : version.dump(), 40);
}

static void check_format(const Json &data, const std::string &file) {
    constexpr int64_t VERSION = 5;
    if (!data.is_object() || !data.contains("format") || data.at("format") != "pcsr-bundle")
        throw Failure(PCSR_ERROR_BUNDLE, file + " is not the manifest of a pcsr bundle");
    const Json version = data.value("format_version", Json());
    if (version == VERSION) return;
    const bool is_newer = version.is_number_integer() && version > VERSION;
    throw Failure(PCSR_ERROR_BUNDLE,
                  file + " has format version " + version_text(version) + ", this pcsr reads " +
                      std::to_string(VERSION) + "; " +
                      (is_newer ? "upgrade pcsr" : "export the bundle again"));
}

static Manifest parsed(const Json &data) {
    check_manifest(data);
    Manifest manifest;
    manifest.is_plain = data.at("kind") == "plain";
    manifest.trained_scale = data.at("trained_scale").get<double>();
    manifest.refine = data.at("refine").get<bool>();
    read_model(data.at("model"), manifest);
    read_costs(data.at("costs"), manifest);
    if (!data.at("mlps").is_null()) manifest.mlps_file = file_entry(data.at("mlps"));
    for (const auto &[precision, graphs] : data.at("graphs").items()) {
        manifest.graphs[precision] = graph_entries(graphs);
        if (manifest.is_plain)
            check_network(manifest.graphs[precision]);
        else
            check_roles(manifest, precision, manifest.graphs[precision]);
    }
    if (manifest.is_plain) manifest.upsamplers.clear(), manifest.upsampler_flops.clear();
    return manifest;
}

Manifest read_manifest(const std::vector<uint8_t> &data, const std::string &file) {
    const Json json = [&] {
        try {
            return parse_json(data);
        } catch (const std::invalid_argument &error) {
            throw Failure(PCSR_ERROR_BUNDLE, file + " cannot be read (" + shortened(error.what()) +
                                                 "); export the bundle again");
        }
    }();
    check_format(json, file);
    try {
        return parsed(json);
    } catch (const std::invalid_argument &error) {
        throw Failure(PCSR_ERROR_BUNDLE, file + " is damaged (" + shortened(error.what()) +
                                             "); export the bundle again");
    }
}

}  // namespace pcsr
