/* ONNX graphs of a bundle: known operators and their weights and nothing else, and what they take
   for an image of any size. docs/bundle.md, "Bundles from someone else", states the limits. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pcsr {

using Shape = std::vector<int64_t>;

/* What one value is known to be: its shape, and its numbers where they may stand for a shape. */
struct Value {
    enum class Known { none, integers, reals };
    Shape shape;
    Known known = Known::none;
    std::vector<int64_t> integers; /* flat; of int64 */
    std::vector<double> reals;     /* flat; of any other type */
};

struct Attribute {
    enum class Kind { none, integer, real, text, list, tensor, other };
    Kind kind = Kind::none;
    int64_t integer = 0;
    double real = 0;
    std::string text;
    Value value; /* a tensor; or a list: of [n], its numbers known where they are few */
};

struct Node {
    std::string op; /* with its domain where that is not ai.onnx: "com.microsoft::QLinearAdd" */
    std::vector<std::string> inputs, outputs;
    std::map<std::string, Attribute> attributes;
    size_t begin = 0, end = 0; /* where its field lies in the file, tag and length included */
};

class Graph {
public:
    std::vector<uint8_t> file;
    std::vector<std::string> inputs, outputs;
    std::map<std::string, Value> constants;
    std::vector<Node> nodes;
};

struct Limits {
    int64_t values;       /* of all tensors together, per pixel */
    int64_t macs;         /* multiply-adds, per pixel */
    int64_t tensor;       /* values of one tensor, per pixel */
    int64_t least_pixels; /* fewer count as so many */
};

struct Estimate {
    std::map<std::string, Shape> outputs;
    int64_t peak = 0; /* the most values alive at one time, in the order of the nodes */
};

/* Parses an ONNX file and checks it. Throws std::invalid_argument with the reason. */
Graph read_graph(std::vector<uint8_t> file);

/* Goes through a graph for inputs of these shapes, and computes nothing. Throws
   std::invalid_argument where its nodes do not fit together, or take more than the limits. */
Estimate estimate(const Graph &graph, const std::map<std::string, Shape> &inputs, int64_t pixels,
                  const Limits &limits);

/* The same model with one output of a graph alone, and without the nodes that it does not need:
   the bytes of an ONNX file. */
std::vector<uint8_t> with_output(const Graph &graph, const std::string &output);

}  // namespace pcsr
