/* Arithmetic on sizes of somebody else, and what the rules of operators are made of. */
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "graph.h"

namespace pcsr::onnx {

constexpr int64_t MOST_KNOWN = 64; /* numbers of a value that may stand for a shape */
constexpr size_t MOST_SIDES = 8;   /* dimensions of a weight */

/* Inputs of a node; of an absent one, NULL. */
using Inputs = std::vector<const Value *>;

struct Outcome {
    std::vector<Value> results;
    int64_t work = 0; /* multiply-adds */
};

using Rule = Outcome (*)(const Node &node, const Inputs &inputs);

/* The rule of an operator, or NULL where it is not known. */
Rule rule_of(const std::string &op);
Rule window_rule_of(const std::string &op);
Rule part_rule_of(const std::string &op);
Rule layout_rule_of(const std::string &op);

[[noreturn]] void refuse(const std::string &reason);

/* Sizes: throw where 64 bits do not hold the result. */
int64_t plus(int64_t a, int64_t b);
int64_t minus(int64_t a, int64_t b);
int64_t times(int64_t a, int64_t b);

/* Amounts of values and of work, none negative: what 64 bits do not hold is as much as they do,
   and more than any limit. */
int64_t amount_sum(int64_t a, int64_t b);
int64_t amount(int64_t a, int64_t b);
int64_t count(const Shape &shape);
int64_t count(const Shape &shape, size_t first, size_t last);

Shape broadcast(const std::vector<const Shape *> &shapes);
size_t axis_of(int64_t axis, size_t rank);

Value of_shape(Shape shape);
Value of_integers(Shape shape, std::vector<int64_t> integers);
Value reshaped(const Value &value, Shape shape);
/* The numbers of a known value at these places, as a value of this shape. */
Value picked(const Value &value, const std::vector<size_t> &places, Shape shape);
const std::vector<int64_t> &integers_of(const Value &value);

Outcome one(Value value, int64_t work = 0);

/* The inputs that are there; the first `least` of them have to be. */
Inputs given(const Inputs &inputs, size_t least);
/* The input at a place, or NULL where it is absent. */
const Value *at(const Inputs &inputs, size_t place);

/* Attributes. A value of another kind is refused. */
const Attribute *find(const Node &node, const char *name);
bool is_set(const Node &node, const char *name, bool otherwise = false);
bool is_text(const Node &node, const char *name, const std::vector<std::string> &allowed);
int64_t integer(const Node &node, const char *name, std::optional<int64_t> otherwise = {});
std::vector<int64_t> integers(const Node &node, const char *name,
                              std::optional<std::vector<int64_t>> otherwise = {});

}  // namespace pcsr::onnx
