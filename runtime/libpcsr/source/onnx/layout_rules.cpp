/* The operators that give values another shape, and those that reduce them along axes. */
#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "shapes.h"

namespace pcsr::onnx {
namespace {

/* Sizes of which one may be -1: what is left. */
Shape filled(int64_t values, Shape sizes) {
    const auto free = std::find(sizes.begin(), sizes.end(), -1);
    if (free != sizes.end()) {
        *free = 1;
        const int64_t others = count(sizes);
        if (others <= 0) refuse("a size that is left open");
        *free = values / others;
    }
    for (int64_t size : sizes)
        if (size < 0) refuse("a negative size");
    if (count(sizes) != values || sizes.size() > MOST_SIDES)
        refuse(std::to_string(values) + " values in another shape");
    return sizes;
}

Outcome reshape(const Node &node, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    if (both.size() != 2) refuse("another number of inputs than 2");
    const Value &x = *both[0];
    Shape sizes = integers_of(*both[1]);
    const bool are_kept = !is_set(node, "allowzero");
    for (size_t i = 0; are_kept && i < sizes.size(); i++) {
        if (sizes[i] != 0) continue;
        if (i >= x.shape.size()) refuse("a size of an axis that is not there");
        sizes[i] = x.shape[i];
    }
    return one(reshaped(x, filled(count(x.shape), sizes)));
}

Outcome flatten(const Node &node, const Inputs &inputs) {
    const Shape &shape = given(inputs, 1)[0]->shape;
    const int64_t rank = static_cast<int64_t>(shape.size()), axis = integer(node, "axis", 1);
    if (axis < -rank || axis > rank) refuse("an axis out of range");
    const size_t middle = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    Shape sides = {count(shape, 0, middle), count(shape, middle, shape.size())};
    for (int64_t side : sides)
        if (side == std::numeric_limits<int64_t>::max()) refuse("a size is out of range");
    return one(of_shape(std::move(sides)));
}

Outcome expand(const Node &, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    if (both.size() != 2) refuse("another number of inputs than 2");
    Shape shape = broadcast({&both[0]->shape, &integers_of(*both[1])});
    const int64_t values = count(shape);
    return one(of_shape(std::move(shape)), values);
}

/* The end of a range as of a slice: from behind where it is negative, and never outside. */
size_t end_of(const Node &node, const char *name, size_t otherwise, size_t rank) {
    const Attribute *attribute = find(node, name);
    if (attribute == nullptr || attribute->kind == Attribute::Kind::none) return otherwise;
    const int64_t sides = static_cast<int64_t>(rank), at = integer(node, name);
    return static_cast<size_t>(std::clamp<int64_t>(at < 0 ? at + sides : at, 0, sides));
}

Outcome shape_of(const Node &node, const Inputs &inputs) {
    const Shape &shape = given(inputs, 1)[0]->shape;
    const size_t first = end_of(node, "start", 0, shape.size());
    const size_t last = end_of(node, "end", shape.size(), shape.size());
    Shape sides;
    for (size_t i = first; i < last; i++) sides.push_back(shape[i]);
    return one(of_integers({static_cast<int64_t>(sides.size())}, sides));
}

std::set<size_t> axes_of(const Value &axes, size_t rank) {
    std::set<size_t> found;
    for (int64_t axis : integers_of(axes)) found.insert(axis_of(axis, rank));
    return found;
}

Outcome squeeze(const Node &, const Inputs &inputs) {
    const Value *x = at(inputs, 0), *axes = at(inputs, 1);
    if (!x) refuse("an input is absent");
    std::set<size_t> dropped;
    if (axes) dropped = axes_of(*axes, x->shape.size());
    Shape shape;
    for (size_t i = 0; i < x->shape.size(); i++) {
        const bool is_dropped = axes ? dropped.count(i) > 0 : x->shape[i] == 1;
        if (is_dropped && x->shape[i] != 1) refuse("a side that is not 1");
        if (!is_dropped) shape.push_back(x->shape[i]);
    }
    return one(reshaped(*x, std::move(shape)));
}

Outcome unsqueeze(const Node &, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    if (both.size() != 2) refuse("another number of inputs than 2");
    const Value &x = *both[0];
    const size_t added = integers_of(*both[1]).size(), rank = x.shape.size() + added;
    const std::set<size_t> places = axes_of(*both[1], rank);
    if (places.size() < added || rank > MOST_SIDES) refuse("axes twice, or too many");
    Shape shape;
    for (size_t i = 0, next = 0; i < rank; i++)
        shape.push_back(places.count(i) > 0 ? 1 : x.shape[next++]);
    return one(reshaped(x, std::move(shape)));
}

Outcome transpose(const Node &node, const Inputs &inputs) {
    const Shape &shape = given(inputs, 1)[0]->shape;
    std::vector<int64_t> axes;
    for (size_t i = shape.size(); i > 0; i--) axes.push_back(static_cast<int64_t>(i) - 1);
    const std::vector<int64_t> order = integers(node, "perm", axes);
    std::vector<int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::reverse(axes.begin(), axes.end());
    if (sorted != axes) refuse("an order of other axes");
    Shape sides;
    for (int64_t axis : order) sides.push_back(shape[static_cast<size_t>(axis)]);
    return one(of_shape(std::move(sides)));
}

Outcome reduce(const Node &node, const Inputs &inputs) {
    const Value *x = at(inputs, 0), *axes = at(inputs, 1);
    if (!x) refuse("an input is absent");
    std::set<size_t> reduced;
    if (axes) reduced = axes_of(*axes, x->shape.size());
    const bool is_all = reduced.empty(), is_kept = is_set(node, "keepdims", true);
    if (is_all && is_set(node, "noop_with_empty_axes"))
        return one(of_shape(x->shape), count(x->shape));
    Shape shape;
    for (size_t i = 0; i < x->shape.size(); i++)
        if (!is_all && reduced.count(i) == 0)
            shape.push_back(x->shape[i]);
        else if (is_kept)
            shape.push_back(1);
    return one(of_shape(std::move(shape)), count(x->shape));
}

}  // namespace

Rule layout_rule_of(const std::string &op) {
    static const std::map<std::string, Rule> RULES = {
        {"Reshape", reshape},     {"Flatten", flatten},   {"Expand", expand},
        {"Shape", shape_of},      {"Squeeze", squeeze},   {"Unsqueeze", unsqueeze},
        {"Transpose", transpose}, {"ReduceMean", reduce}, {"ReduceL2", reduce},
    };
    const auto found = RULES.find(op);
    return found == RULES.end() ? nullptr : found->second;
}

}  // namespace pcsr::onnx
