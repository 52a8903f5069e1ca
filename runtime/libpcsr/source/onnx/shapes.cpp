#include "shapes.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

namespace pcsr::onnx {

void refuse(const std::string &reason) { throw std::invalid_argument(reason); }

int64_t plus(int64_t a, int64_t b) {
    int64_t result = 0;
    if (__builtin_add_overflow(a, b, &result)) refuse("a size is out of range");
    return result;
}

int64_t minus(int64_t a, int64_t b) {
    int64_t result = 0;
    if (__builtin_sub_overflow(a, b, &result)) refuse("a size is out of range");
    return result;
}

int64_t times(int64_t a, int64_t b) {
    int64_t result = 0;
    if (__builtin_mul_overflow(a, b, &result)) refuse("a size is out of range");
    return result;
}

int64_t amount_sum(int64_t a, int64_t b) {
    int64_t result = 0;
    return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}

int64_t amount(int64_t a, int64_t b) {
    int64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}

int64_t count(const Shape &shape) { return count(shape, 0, shape.size()); }

int64_t count(const Shape &shape, size_t first, size_t last) {
    int64_t result = 1;
    for (size_t i = first; i < last; i++) /* a side of 0 among any others is no value */
        if (shape[i] == 0) return 0;
    for (size_t i = first; i < last; i++) result = amount(result, shape[i]);
    return result;
}

Shape broadcast(const std::vector<const Shape *> &shapes) {
    if (shapes.empty()) refuse("no inputs");
    size_t rank = 0;
    for (const Shape *shape : shapes) rank = std::max(rank, shape->size());
    Shape result(rank, 1);
    for (const Shape *shape : shapes) {
        const size_t behind = rank - shape->size();
        for (size_t i = 0; i < shape->size(); i++) {
            const int64_t side = (*shape)[i];
            int64_t &joint = result[behind + i];
            if (side != 1 && joint != 1 && side != joint) refuse("shapes differ");
            if (side != 1) joint = side;
        }
    }
    return result;
}

size_t axis_of(int64_t axis, size_t rank) {
    const int64_t sides = static_cast<int64_t>(rank);
    if (axis < -sides || axis >= sides)
        refuse("axis " + std::to_string(axis) + " of " + std::to_string(rank));
    return static_cast<size_t>(axis < 0 ? axis + sides : axis);
}

Value of_shape(Shape shape) {
    Value value;
    value.shape = std::move(shape);
    return value;
}

Value of_integers(Shape shape, std::vector<int64_t> integers) {
    Value value = of_shape(std::move(shape));
    value.known = Value::Known::integers;
    value.integers = std::move(integers);
    return value;
}

Value reshaped(const Value &value, Shape shape) {
    Value result = value;
    result.shape = std::move(shape);
    return result;
}

Value picked(const Value &value, const std::vector<size_t> &places, Shape shape) {
    Value result = of_shape(std::move(shape));
    result.known = value.known;
    for (size_t place : places)
        if (value.known == Value::Known::integers)
            result.integers.push_back(value.integers[place]);
        else
            result.reals.push_back(value.reals[place]);
    return result;
}

const std::vector<int64_t> &integers_of(const Value &value) {
    if (value.known != Value::Known::integers) refuse("a size is computed from pixels");
    return value.integers;
}

Outcome one(Value value, int64_t work) {
    Outcome outcome;
    outcome.results.push_back(std::move(value));
    outcome.work = work;
    return outcome;
}

Inputs given(const Inputs &inputs, size_t least) {
    Inputs found;
    std::copy_if(inputs.begin(), inputs.end(), std::back_inserter(found),
                 [](const Value *value) { return value != nullptr; });
    if (found.size() < least) refuse("an input is absent");
    return found;
}

const Value *at(const Inputs &inputs, size_t place) {
    return place < inputs.size() ? inputs[place] : nullptr;
}

const Attribute *find(const Node &node, const char *name) {
    const auto found = node.attributes.find(name);
    return found == node.attributes.end() ? nullptr : &found->second;
}

bool is_set(const Node &node, const char *name, bool otherwise) {
    const Attribute *attribute = find(node, name);
    if (attribute == nullptr) return otherwise;
    switch (attribute->kind) {
        case Attribute::Kind::none: return false;
        case Attribute::Kind::integer: return attribute->integer != 0;
        case Attribute::Kind::real: return attribute->real < 0 || !(attribute->real <= 0);
        case Attribute::Kind::text: return !attribute->text.empty();
        case Attribute::Kind::list: return attribute->value.shape[0] != 0;
        default: return true;
    }
}

bool is_text(const Node &node, const char *name, const std::vector<std::string> &allowed) {
    const Attribute *attribute = find(node, name);
    if (attribute == nullptr) return true;
    return attribute->kind == Attribute::Kind::text &&
           std::find(allowed.begin(), allowed.end(), attribute->text) != allowed.end();
}

int64_t integer(const Node &node, const char *name, std::optional<int64_t> otherwise) {
    const Attribute *attribute = find(node, name);
    if (attribute == nullptr && otherwise) return *otherwise;
    if (attribute == nullptr || attribute->kind != Attribute::Kind::integer)
        refuse(std::string(name) + " is no integer");
    return attribute->integer;
}

std::vector<int64_t> integers(const Node &node, const char *name,
                              std::optional<std::vector<int64_t>> otherwise) {
    const Attribute *attribute = find(node, name);
    if (attribute == nullptr && otherwise) return *otherwise;
    if (attribute == nullptr || attribute->kind != Attribute::Kind::list ||
        (attribute->value.shape[0] != 0 && attribute->value.known != Value::Known::integers))
        refuse(std::string(name) + " is no list of some integers");
    return attribute->value.integers;
}

}  // namespace pcsr::onnx
