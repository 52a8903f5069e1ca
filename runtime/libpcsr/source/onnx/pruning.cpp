/* A model with one output of its graph alone. */
#include <algorithm>
#include <set>

#include "fields.h"
#include "graph.h"
#include "shapes.h"
#include "weights.h"

namespace pcsr {

using namespace onnx;

namespace {

constexpr uint64_t DELIMITED = static_cast<uint64_t>(Wire::delimited);

void append(Bytes &to, const Bytes &file, Range range) {
    const auto begin = file.begin() + static_cast<std::ptrdiff_t>(range.begin);
    to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(range.size()));
}

/* What an output needs: nodes, by where they begin in the file, and values, by name. */
struct Needed {
    std::set<size_t> nodes;
    std::set<std::string> values;
};

Needed needed_for(const Graph &graph, const std::string &output) {
    Needed needed;
    needed.values = {output};
    for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
        const auto is_needed = [&](const std::string &name) {
            return !name.empty() && needed.values.count(name) > 0;
        };
        if (std::none_of(node->outputs.begin(), node->outputs.end(), is_needed)) continue;
        needed.nodes.insert(node->begin);
        needed.values.insert(node->inputs.begin(), node->inputs.end());
        needed.values.insert(node->outputs.begin(), node->outputs.end());
    }
    return needed;
}

bool is_kept(const Bytes &file, const Field &field, const Needed &needed,
             const std::string &output) {
    switch (field.number) {
        case graph_fields::node: return needed.nodes.count(field.whole.begin) > 0;
        case graph_fields::initializer:
            return needed.values.count(text_field(file, field.content, tensor_fields::name)) > 0;
        case graph_fields::value_info:
            return needed.values.count(text_field(file, field.content, value_fields::name)) > 0;
        case graph_fields::output:
            return text_field(file, field.content, value_fields::name) == output;
        default: return true;
    }
}

Bytes pruned(const Bytes &file, Range message, const Needed &needed, const std::string &output) {
    Bytes result;
    result.reserve(message.size());
    Fields fields(file, message);
    for (Field field; fields.next(field);)
        if (is_kept(file, field, needed, output)) append(result, file, field.whole);
    return result;
}

}  // namespace

std::vector<uint8_t> with_output(const Graph &graph, const std::string &output) {
    const auto &all = graph.outputs;
    if (std::find(all.begin(), all.end(), output) == all.end())
        refuse("it has no output " + quoted(output));
    const Needed needed = needed_for(graph, output);
    Bytes result;
    result.reserve(graph.file.size());
    Fields fields(graph.file, {0, graph.file.size()});
    for (Field field; fields.next(field);) {
        if (field.number != model_fields::graph) {
            append(result, graph.file, field.whole);
            continue;
        }
        const Bytes content = pruned(graph.file, field.content, needed, output);
        append_varint(result, model_fields::graph << 3 | DELIMITED);
        append_varint(result, content.size());
        result.insert(result.end(), content.begin(), content.end());
    }
    return result;
}

}  // namespace pcsr
