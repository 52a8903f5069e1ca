/* The operators that combine values, and the table of all that a graph of a bundle may have. */
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "shapes.h"

namespace pcsr::onnx {
namespace {

using Combine = int64_t (*)(int64_t a, int64_t b);

int64_t divided(int64_t a, int64_t b) {
    if (b == -1) return minus(0, a);
    return a / b;
}

int64_t least(int64_t a, int64_t b) { return std::min(a, b); }
int64_t most(int64_t a, int64_t b) { return std::max(a, b); }

/* The place of a number in a value that is repeated to a larger shape. */
size_t source(const Shape &from, const Shape &to, size_t place) {
    size_t found = 0, step = 1;
    for (size_t i = 0; i < from.size(); i++) {
        const size_t side = static_cast<size_t>(from[from.size() - 1 - i]);
        const size_t along = place % static_cast<size_t>(to[to.size() - 1 - i]);
        place /= static_cast<size_t>(to[to.size() - 1 - i]);
        if (side != 1) found += along * step;
        step *= side;
    }
    return found;
}

void combine(std::vector<int64_t> &left, const Value &right, const Shape &shape, Combine function) {
    for (size_t i = 0; i < left.size(); i++)
        left[i] = function(left[i], right.integers[source(right.shape, shape, i)]);
}

std::vector<int64_t> repeated(const Value &value, const Shape &shape) {
    std::vector<int64_t> result(static_cast<size_t>(count(shape)));
    for (size_t i = 0; i < result.size(); i++)
        result[i] = value.integers[source(value.shape, shape, i)];
    return result;
}

bool are_sizes(const Inputs &operands) {
    return std::all_of(operands.begin(), operands.end(), [](const Value *value) {
        return value->known == Value::Known::integers;
    });
}

Shape joint_shape(const Inputs &operands) {
    std::vector<const Shape *> shapes;
    for (const Value *value : operands) shapes.push_back(&value->shape);
    return broadcast(shapes);
}

Outcome of_pixels(const Inputs &inputs) {
    Shape shape = joint_shape(given(inputs, 1));
    const int64_t work = count(shape);
    return one(of_shape(std::move(shape)), work);
}

/* Combines inputs; their numbers as well where these are sizes. */
template <Combine function, bool is_binary>
Outcome elementwise(const Node &, const Inputs &inputs) {
    const Inputs operands = given(inputs, 1);
    const Shape shape = joint_shape(operands);
    if (count(shape) > MOST_KNOWN || !are_sizes(operands)) return of_pixels(inputs);
    if (is_binary && operands.size() != 2) refuse("another number of inputs than 2");
    if (function == divided)
        for (int64_t by : operands[1]->integers)
            if (by == 0) refuse("a size is divided by 0");
    std::vector<int64_t> result = repeated(*operands[0], shape);
    for (size_t i = 1; i < operands.size(); i++) combine(result, *operands[i], shape, function);
    return one(of_integers(shape, std::move(result)), count(shape));
}

Outcome power(const Node &, const Inputs &inputs) { return of_pixels(inputs); }

Outcome quantized_add(const Node &, const Inputs &inputs) {
    if (inputs.size() < 4) refuse("an input is absent");
    return of_pixels({inputs[0], inputs[3]});
}

Outcome like_first(const Node &, const Inputs &inputs) {
    const Value &first = *given(inputs, 1)[0];
    return one(of_shape(first.shape), count(first.shape));
}

Outcome same(const Node &, const Inputs &inputs) { return one(*given(inputs, 1)[0]); }

bool is_cast_to_sizes(const Node &node) {
    constexpr int64_t INT64 = 7;
    const Attribute *to = find(node, "to");
    if (to == nullptr) refuse("to is absent");
    return to->kind == Attribute::Kind::integer && to->integer == INT64;
}

Outcome cast(const Node &node, const Inputs &inputs) {
    const Value &x = *given(inputs, 1)[0];
    const bool is_kept = x.known == Value::Known::integers && is_cast_to_sizes(node);
    return one(is_kept ? x : of_shape(x.shape), count(x.shape));
}

Outcome prelu(const Node &, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    const Shape &shape = both[0]->shape;
    if (both.size() != 2 || broadcast({&shape, &both[1]->shape}) != shape)
        refuse("slopes are larger than what they multiply");
    return one(of_shape(shape), count(shape));
}

/* An integer of a constant that is written as another number. */
int64_t truncated(double value) {
    constexpr double LIMIT = 9223372036854775808.0; /* 2^63 */
    if (!(value >= -LIMIT && value < LIMIT)) refuse("a number is out of range");
    return static_cast<int64_t>(value);
}

Value constant_of(std::vector<int64_t> integers, const std::vector<double> &reals, bool is_integer,
                  Shape shape) {
    for (double each : is_integer ? reals : std::vector<double>()) /* one of the two is empty */
        integers.push_back(truncated(each));
    if (is_integer) return of_integers(std::move(shape), std::move(integers));
    Value value = of_shape(std::move(shape));
    value.known = Value::Known::reals;
    value.reals = reals;
    for (int64_t each : integers) value.reals.push_back(static_cast<double>(each));
    return value;
}

Value constant_value(const std::string &name, const Attribute &attribute) {
    const bool is_integer = name == "value_int" || name == "value_ints";
    const Value &list = attribute.value;
    switch (attribute.kind) {
        case Attribute::Kind::tensor: return list;
        case Attribute::Kind::integer:
            return constant_of({attribute.integer}, {}, is_integer, {});
        case Attribute::Kind::real: return constant_of({}, {attribute.real}, is_integer, {});
        case Attribute::Kind::list:
            if (list.shape[0] > MOST_KNOWN) return of_shape(list.shape);
            return constant_of(list.integers, list.reals, is_integer, list.shape);
        case Attribute::Kind::none:
            if (is_integer) refuse("of no value");
            return constant_of({}, {std::nan("")}, false, {});
        default: refuse("of another kind");
    }
}

Outcome constant(const Node &node, const Inputs &) {
    static const char *const KINDS[] = {"value", "value_float", "value_int", "value_floats",
                                        "value_ints"};
    if (node.attributes.size() != 1) refuse("of another kind");
    const auto &[name, attribute] = *node.attributes.begin();
    if (std::find(std::begin(KINDS), std::end(KINDS), name) == std::end(KINDS))
        refuse("of another kind");
    return one(constant_value(name, attribute));
}

Outcome matmul(const Node &, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    const Shape &a = both[0]->shape, &b = both[1]->shape;
    if (both.size() != 2 || a.empty() || b.empty()) refuse("the factors do not fit");
    if (a.back() != b[b.size() < 2 ? 0 : b.size() - 2]) refuse("the factors do not fit");
    const size_t rows = a.size() < 2 ? 0 : a.size() - 2, columns = b.size() < 2 ? 0 : b.size() - 2;
    const Shape left(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(rows));
    const Shape right(b.begin(), b.begin() + static_cast<std::ptrdiff_t>(columns));
    Shape shape = broadcast({&left, &right});
    if (a.size() > 1) shape.push_back(a[a.size() - 2]);
    if (b.size() > 1) shape.push_back(b.back());
    const int64_t work = amount(count(shape), std::max<int64_t>(1, a.back()));
    return one(of_shape(std::move(shape)), work);
}

Outcome gemm(const Node &node, const Inputs &inputs) {
    const Inputs all = given(inputs, 2);
    Shape a = all[0]->shape, b = all[1]->shape;
    if (is_set(node, "transA")) std::reverse(a.begin(), a.end());
    if (is_set(node, "transB")) std::reverse(b.begin(), b.end());
    if (a.size() != 2 || b.size() != 2 || a[1] != b[0]) refuse("the factors do not fit");
    const Shape shape = {a[0], b[1]};
    if (all.size() > 2 && broadcast({&all[2]->shape, &shape}) != shape)
        refuse("the term does not fit");
    return one(of_shape(shape), amount(count(shape), std::max<int64_t>(1, a[1])));
}

const std::map<std::string, Rule> &combining_rules() {
    static const std::map<std::string, Rule> RULES = {
        {"Add", elementwise<plus, true>},
        {"Sub", elementwise<minus, true>},
        {"Mul", elementwise<times, true>},
        {"Div", elementwise<divided, true>},
        {"Min", elementwise<least, false>},
        {"Max", elementwise<most, false>},
        {"Pow", power},
        {"Cast", cast},
        {"Identity", same},
        {"PRelu", prelu},
        {"Constant", constant},
        {"MatMul", matmul},
        {"Gemm", gemm},
        {"com.microsoft::QLinearAdd", quantized_add},
    };
    return RULES;
}

/* The operators whose result has the shape of their first input. */
constexpr const char *LIKE_FIRST[] = {
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Softmax", "Gelu", "Erf", "Sqrt", "Mish",
    "Exp", "Abs", "Neg", "HardSigmoid", "HardSwish", "Softplus", "Elu", "Reciprocal",
    "LayerNormalization", "InstanceNormalization", "BatchNormalization",
    "QuantizeLinear", "DequantizeLinear"};

}  // namespace

Rule rule_of(const std::string &op) {
    const auto found = combining_rules().find(op);
    if (found != combining_rules().end()) return found->second;
    for (const char *like : LIKE_FIRST)
        if (op == like) return like_first;
    if (const Rule rule = window_rule_of(op)) return rule;
    if (const Rule rule = part_rule_of(op)) return rule;
    return layout_rule_of(op);
}

}  // namespace pcsr::onnx
