/* The operators that take values apart and join them. */
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <utility>

#include "shapes.h"

namespace pcsr::onnx {
namespace {

constexpr size_t MOST_AXES = 64; /* of a value whose numbers are known */

size_t as_size(int64_t value) { return static_cast<size_t>(value); }

/* The shape with the side along an axis replaced. */
Shape replaced(Shape shape, size_t axis, int64_t side) {
    shape[axis] = side;
    return shape;
}

std::vector<size_t> places(size_t first, size_t number) {
    std::vector<size_t> result(number);
    for (size_t i = 0; i < number; i++) result[i] = first + i;
    return result;
}

void append(Value &to, const Value &part) {
    to.integers.insert(to.integers.end(), part.integers.begin(), part.integers.end());
    to.reals.insert(to.reals.end(), part.reals.begin(), part.reals.end());
    for (int64_t each : to.known == Value::Known::reals ? part.integers : Shape())
        to.reals.push_back(static_cast<double>(each));
}

Value joined_numbers(const Inputs &parts, size_t axis, Shape shape) {
    Value result = of_shape(std::move(shape));
    result.known = Value::Known::integers;
    for (const Value *part : parts)
        if (part->known == Value::Known::reals) result.known = Value::Known::reals;
    const int64_t blocks = count(result.shape) ? count(result.shape, 0, axis) : 0;
    for (int64_t i = 0; i < blocks; i++)
        for (const Value *part : parts) {
            const size_t length = as_size(count(part->shape, axis, part->shape.size()));
            append(result, picked(*part, places(as_size(i) * length, length), {}));
        }
    if (result.known == Value::Known::reals) result.integers.clear();
    return result;
}

Outcome joined(const Node &node, const Inputs &inputs) {
    const Inputs parts = given(inputs, 1);
    Shape shape = parts[0]->shape;
    const size_t axis = axis_of(integer(node, "axis"), shape.size());
    int64_t side = 0;
    bool are_known = true;
    for (const Value *part : parts) {
        if (part->shape.size() != shape.size() ||
            replaced(part->shape, axis, 0) != replaced(shape, axis, 0))
            refuse("shapes differ");
        side = plus(side, part->shape[axis]);
        are_known = are_known && part->known != Value::Known::none;
    }
    shape[axis] = side;
    const int64_t values = count(shape);
    if (!are_known || values > MOST_KNOWN) return one(of_shape(std::move(shape)), values);
    return one(joined_numbers(parts, axis, std::move(shape)), values);
}

Outcome quantized_join(const Node &node, const Inputs &inputs) {
    Inputs parts; /* behind scale and zero of the result, each with its own two */
    for (size_t i = 2; i < inputs.size(); i += 3) parts.push_back(inputs[i]);
    return joined(node, parts);
}

std::vector<int64_t> equal_parts(int64_t length, size_t number) {
    if (number == 0) refuse("no parts");
    const int64_t parts = static_cast<int64_t>(number);
    const int64_t step = length / parts + (length % parts != 0);
    std::vector<int64_t> result;
    for (size_t i = 0; i < number; i++, length = std::max<int64_t>(0, length - step))
        result.push_back(std::min(step, length));
    return result;
}

Outcome split(const Node &node, const Inputs &inputs) {
    const Value &x = *given(inputs, 1)[0];
    const size_t axis = axis_of(integer(node, "axis", 0), x.shape.size());
    const Value *sizes = at(inputs, 1);
    const std::vector<int64_t> parts =
        sizes ? integers_of(*sizes) : equal_parts(x.shape[axis], node.outputs.size());
    int64_t sum = 0;
    for (int64_t part : parts) {
        if (part < 0) refuse("parts of a negative size");
        sum = plus(sum, part);
    }
    if (sum != x.shape[axis] || parts.empty() || parts.size() != node.outputs.size())
        refuse("the parts do not fit");
    Outcome outcome;
    for (int64_t part : parts) outcome.results.push_back(of_shape(replaced(x.shape, axis, part)));
    outcome.work = count(x.shape);
    return outcome;
}

/* Some of the places along an axis: `length` from `start`, by `step`. */
struct Part {
    int64_t start, step, length;
};

int64_t clamped(int64_t at, int64_t side, int64_t low, int64_t high) {
    if (at < 0) at += side;
    return std::clamp(at, low, high);
}

Part part_of(int64_t side, int64_t start, int64_t stop, int64_t step) {
    if (step == 0) refuse("a step of 0");
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? side - 1 : side;
    const int64_t first = clamped(start, side, low, high), last = clamped(stop, side, low, high);
    const int64_t way = step > 0 ? last - first : first - last;
    const int64_t by = std::abs(std::max(step, -std::numeric_limits<int64_t>::max()));
    return {first, step, way <= 0 ? 0 : (way - 1) / by + 1};
}

Value sliced(const Value &x, const std::vector<Part> &parts, Shape shape) {
    std::vector<size_t> found = {0};
    for (size_t axis = 0; axis < parts.size(); axis++) {
        std::vector<size_t> next;
        for (size_t place : found)
            for (int64_t i = 0; i < parts[axis].length; i++)
                next.push_back(place * as_size(x.shape[axis]) +
                               as_size(parts[axis].start + i * parts[axis].step));
        found = std::move(next);
    }
    return picked(x, found, std::move(shape));
}

std::vector<int64_t> counted(size_t number) {
    std::vector<int64_t> result(number);
    for (size_t i = 0; i < number; i++) result[i] = static_cast<int64_t>(i);
    return result;
}

Outcome slice(const Node &, const Inputs &inputs) {
    const Value *x = at(inputs, 0), *starts = at(inputs, 1), *ends = at(inputs, 2);
    const Value *axes = at(inputs, 3), *steps = at(inputs, 4);
    if (!x || !starts || !ends) refuse("no range");
    const std::vector<int64_t> first = integers_of(*starts), last = integers_of(*ends);
    const std::vector<int64_t> along = axes ? integers_of(*axes) : counted(first.size());
    const std::vector<int64_t> by = steps ? integers_of(*steps) : Shape(first.size(), 1);
    if (last.size() != first.size() || along.size() != first.size() || by.size() != first.size())
        refuse("ranges of different numbers");
    std::vector<size_t> chosen(x->shape.size(), first.size()); /* of an axis twice, the last */
    for (size_t i = 0; i < first.size(); i++) chosen[axis_of(along[i], x->shape.size())] = i;
    std::vector<Part> parts;
    for (size_t axis = 0; axis < chosen.size(); axis++) {
        const int64_t side = x->shape[axis];
        const size_t i = chosen[axis];
        parts.push_back(i < first.size() ? part_of(side, first[i], last[i], by[i])
                                         : Part{0, 1, side});
    }
    Shape shape;
    for (const Part &part : parts) shape.push_back(part.length);
    const int64_t values = count(shape);
    if (x->known == Value::Known::none) return one(of_shape(std::move(shape)), values);
    return one(values ? sliced(*x, parts, shape) : picked(*x, {}, shape), values);
}

/* A place along an axis that a known number names. */
size_t index_at(const Value &index, size_t place, int64_t side) {
    if (index.known == Value::Known::integers)
        return axis_of(index.integers[place], as_size(side));
    const double real = index.reals[place];
    const double limit = static_cast<double>(side) + 1;
    if (!(real > -limit && real < limit)) refuse("a place out of range");
    return axis_of(static_cast<int64_t>(real), as_size(side));
}

Value gathered(const Value &x, const Value &index, size_t axis, Shape shape) {
    if (shape.size() > MOST_AXES) refuse("too many axes");
    const int64_t side = x.shape[axis], blocks = count(x.shape, 0, axis);
    const size_t length = as_size(count(x.shape, axis + 1, x.shape.size()));
    const size_t indices = as_size(count(index.shape));
    std::vector<size_t> found;
    for (size_t block = 0; blocks > 0 && block < as_size(blocks); block++) {
        if (block > 0 && (length == 0 || indices == 0)) break; /* the others are as empty */
        for (size_t i = 0; i < indices; i++) {
            const size_t first = (block * as_size(side) + index_at(index, i, side)) * length;
            for (size_t place : places(first, length)) found.push_back(place);
        }
    }
    return picked(x, found, std::move(shape));
}

Outcome gather(const Node &node, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    if (both.size() != 2) refuse("another number of inputs than 2");
    const Value &x = *both[0], &index = *both[1];
    const size_t axis = axis_of(integer(node, "axis", 0), x.shape.size());
    const auto middle = x.shape.begin() + static_cast<std::ptrdiff_t>(axis);
    Shape shape(x.shape.begin(), middle);
    shape.insert(shape.end(), index.shape.begin(), index.shape.end());
    shape.insert(shape.end(), middle + 1, x.shape.end());
    const int64_t values = count(shape);
    const bool are_known = x.known != Value::Known::none && index.known != Value::Known::none;
    if (!are_known || values > MOST_KNOWN) return one(of_shape(std::move(shape)), values);
    return one(gathered(x, index, axis, std::move(shape)), values);
}

}  // namespace

Rule part_rule_of(const std::string &op) {
    static const std::map<std::string, Rule> RULES = {
        {"Concat", joined},
        {"Split", split},
        {"Slice", slice},
        {"Gather", gather},
        {"com.microsoft::QLinearConcat", quantized_join},
    };
    const auto found = RULES.find(op);
    return found == RULES.end() ? nullptr : found->second;
}

}  // namespace pcsr::onnx
