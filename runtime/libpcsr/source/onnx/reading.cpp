/* ONNX graphs, in as much of ONNX as those of a bundle need. */
#include <map>
#include <set>
#include <utility>

#include "fields.h"
#include "graph.h"
#include "shapes.h"
#include "weights.h"

namespace pcsr {

using namespace onnx;

namespace {

constexpr size_t MOST_NODES = 2500;
constexpr size_t MOST_WEIGHTS = 10000;
constexpr const char *CONSTANT = "Constant";

/* A domain by one name: that of ONNX itself is "". */
std::string domain_of(const std::string &name) { return name == "ai.onnx" ? "" : name; }

bool is_opset(const std::string &domain, int64_t version) {
    if (domain.empty()) return version >= 18 && version <= 26;
    return domain == "com.microsoft" && version == 1;
}

class Reader {
public:
    explicit Reader(Graph &graph) : graph_(graph), file_(graph.file) {}

    void model() {
        Fields fields(file_, {0, file_.size()});
        for (Field field; fields.next(field);) {
            if (field.number == model_fields::opset_import) opset(field.content);
            if (field.number == model_fields::graph) graph(field.content);
        }
    }

    /* Checks that every value has one origin, before it is used. */
    void check_names() {
        for (const std::string &name : graph_.inputs) defined(name);
        for (const std::string &name : weights_) defined(name);
        std::set<std::string> ready = known_;
        for (const Node &node : graph_.nodes) {
            for (const std::string &name : node.inputs)
                if (!name.empty() && ready.count(name) == 0)
                    refuse("it uses " + quoted(name) + " before it is computed");
            for (const std::string &name : node.outputs)
                if (!name.empty()) defined(name);
            ready.insert(node.outputs.begin(), node.outputs.end());
        }
        for (const std::string &name : graph_.inputs) ready.erase(name);
        for (const std::string &name : weights_) ready.erase(name);
        for (const std::string &name : graph_.outputs) /* each one once */
            if (ready.erase(name) == 0)
                refuse("its output " + quoted(name) + " is there twice, or is no result");
    }

private:
    void defined(const std::string &name) {
        if (name.empty() || !known_.insert(name).second)
            refuse("it computes " + quoted(name) + " twice");
    }

    void opset(Range message) {
        int64_t version = 0;
        Fields fields(file_, message);
        for (Field field; fields.next(field);)
            if (field.number == opset_fields::version && field.wire == Wire::varint)
                version = static_cast<int64_t>(field.value);
        const std::string domain = domain_of(text_field(file_, message, opset_fields::domain));
        if (!opsets_.insert(domain).second) refuse("it names an opset twice");
        if (!is_opset(domain, version))
            refuse("it needs opset " + std::to_string(version) + " of " +
                   quoted(domain.empty() ? "ai.onnx" : domain));
    }

    void graph(Range message) {
        Fields fields(file_, message);
        for (Field field; fields.next(field);) {
            if (field.number == graph_fields::node) node(field);
            if (field.number == graph_fields::initializer) weight(field.content);
            if (field.number == graph_fields::input) graph_.inputs.push_back(name(field));
            if (field.number == graph_fields::output) graph_.outputs.push_back(name(field));
        }
    }

    std::string name(const Field &field) {
        return text_field(file_, field.content, value_fields::name);
    }

    void weight(Range message) {
        if (weights_.size() == MOST_WEIGHTS)
            refuse("it has more than " + std::to_string(MOST_WEIGHTS) + " weights");
        weights_.push_back(text_field(file_, message, tensor_fields::name));
        graph_.constants[weights_.back()] = read_tensor(file_, {message});
    }

    void node(const Field &whole) {
        if (graph_.nodes.size() == MOST_NODES)
            refuse("it has more than " + std::to_string(MOST_NODES) + " nodes");
        Node node;
        node.begin = whole.whole.begin;
        node.end = whole.whole.end;
        const std::string domain =
            domain_of(text_field(file_, whole.content, node_fields::domain));
        node.op = text_field(file_, whole.content, node_fields::op_type);
        if (!domain.empty()) node.op = domain + "::" + node.op;
        if (!rule_of(node.op))
            refuse("it has the operator " + quoted(node.op) + ", which is not known here");
        Fields fields(file_, whole.content);
        for (Field field; fields.next(field);) {
            if (field.wire != Wire::delimited) continue;
            if (field.number == node_fields::input)
                node.inputs.push_back(text(file_, field.content));
            if (field.number == node_fields::output)
                node.outputs.push_back(text(file_, field.content));
            if (field.number == node_fields::attribute) attribute(node, field.content);
        }
        graph_.nodes.push_back(std::move(node));
    }

    void attribute(Node &node, Range message) {
        const std::string name = text_field(file_, message, attribute_fields::name);
        Attribute value = read_attribute(file_, message, node.op == CONSTANT);
        if (!node.attributes.emplace(name, std::move(value)).second)
            refuse(node.op + " has an attribute twice");
    }

    Graph &graph_;
    const Bytes &file_;
    std::set<std::string> opsets_, known_;
    std::vector<std::string> weights_;
};

}  // namespace

Graph read_graph(std::vector<uint8_t> file) {
    Graph graph;
    graph.file = std::move(file);
    check_fields(graph.file);
    Reader reader(graph);
    reader.model();
    reader.check_names();
    return graph;
}

}  // namespace pcsr
