/* Goes through a graph for inputs of some size, without computing anything. */
#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "graph.h"
#include "shapes.h"
#include "weights.h"

namespace pcsr {

using namespace onnx;

namespace {

constexpr size_t MOST_AXES = 64;

/* How many values are alive, by name. */
class Alive {
public:
    void add(const std::string &name, int64_t values) {
        drop(name);
        counts_[name] = values;
        sum_ = plus(sum_, values);
    }
    void drop(const std::string &name) {
        const auto found = counts_.find(name);
        if (found == counts_.end()) return;
        sum_ -= found->second;
        counts_.erase(found);
    }
    int64_t sum() const { return sum_; }

private:
    std::map<std::string, int64_t> counts_;
    int64_t sum_ = 0;
};

class Walk {
public:
    Walk(const Graph &graph, const std::map<std::string, Shape> &inputs)
        : graph_(graph), kept_(graph.outputs.begin(), graph.outputs.end()) {
        for (const auto &[name, shape] : inputs) {
            known_[name] = of_shape(shape);
            alive_.add(name, count(shape));
        }
        for (size_t i = 0; i < graph.nodes.size(); i++)
            for (const std::string &name : graph.nodes[i].inputs) last_[name] = i;
    }

    /* Returns the results of a node and its work, and keeps what later ones need. */
    Outcome pass(size_t index) {
        const Node &node = graph_.nodes[index];
        Outcome outcome = results(node);
        for (size_t i = 0; i < node.outputs.size(); i++) {
            alive_.add(node.outputs[i], count(outcome.results[i].shape));
            known_[node.outputs[i]] = outcome.results[i];
        }
        peak_ = std::max(peak_, alive_.sum());
        for (const std::string &name : node.inputs) leave(name, index);
        for (const std::string &name : node.outputs) leave(name, index);
        return outcome;
    }

    Estimate end() const {
        Estimate found;
        for (const std::string &name : graph_.outputs) found.outputs[name] = value(name).shape;
        found.peak = peak_;
        return found;
    }

private:
    const Value &value(const std::string &name) const {
        const auto found = known_.find(name);
        if (found != known_.end()) return found->second;
        const auto constant = graph_.constants.find(name);
        if (constant == graph_.constants.end()) refuse("no input " + quoted(name));
        return constant->second;
    }

    Outcome results(const Node &node) const {
        Inputs inputs;
        for (const std::string &name : node.inputs)
            inputs.push_back(name.empty() ? nullptr : &value(name));
        try {
            Outcome outcome = rule_of(node.op)(node, inputs);
            if (outcome.results.size() < node.outputs.size()) refuse("it has more results");
            for (const Value &result : outcome.results) check(result.shape);
            return outcome;
        } catch (const std::invalid_argument &error) {
            refuse(node.op + " does not fit its inputs: " + error.what());
        }
    }

    static void check(const Shape &shape) {
        if (shape.size() > MOST_AXES) refuse("a value of too many axes");
        for (int64_t side : shape)
            if (side < 0) refuse("a negative size");
    }

    /* Forgets a value that no later node needs. */
    void leave(const std::string &name, size_t index) {
        const auto last = last_.find(name);
        if (kept_.count(name) == 0 && (last == last_.end() || last->second == index))
            alive_.drop(name);
    }

    const Graph &graph_;
    const std::set<std::string> kept_;
    std::map<std::string, Value> known_;
    std::map<std::string, size_t> last_;
    Alive alive_;
    int64_t peak_ = 0;
};

}  // namespace

Estimate estimate(const Graph &graph, const std::map<std::string, Shape> &inputs, int64_t pixels,
                  const Limits &limits) {
    pixels = std::max(pixels, limits.least_pixels);
    Walk walk(graph, inputs);
    int64_t total = 0, work = 0;
    for (size_t i = 0; i < graph.nodes.size(); i++) {
        const Outcome outcome = walk.pass(i);
        const std::string &op = graph.nodes[i].op;
        work = amount_sum(work, outcome.work);
        int64_t largest = 0;
        for (const Value &result : outcome.results) {
            largest = std::max(largest, count(result.shape));
            total = amount_sum(total, count(result.shape));
        }
        if (total > amount(limits.values, pixels) || work > amount(limits.macs, pixels))
            refuse(op + " is more work than a graph of a bundle may be");
        if (largest > amount(limits.tensor, pixels))
            refuse(op + " gives " + std::to_string(largest) + " values for " +
                   std::to_string(pixels) + " pixels");
    }
    return walk.end();
}

}  // namespace pcsr
