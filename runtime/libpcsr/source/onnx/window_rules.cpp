/* The operators that look at pixels and their neighbours. */
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "shapes.h"

namespace pcsr::onnx {
namespace {

constexpr int64_t LARGEST_WINDOW = 64; /* side of a kernel, in pixels */
constexpr int64_t LARGEST_STEP = 64;   /* stride, dilation, factor */

using Sides = std::vector<int64_t>;

/* How a kernel goes over height and width; of pads the two begins come first. */
struct Window {
    Sides kernel, strides, dilations, pads;
};

bool are_within(const Sides &numbers, int64_t low, int64_t high) {
    return std::all_of(numbers.begin(), numbers.end(),
                       [=](int64_t number) { return low <= number && number <= high; });
}

Window window_of(const Node &node, const Sides &kernel) {
    if (!is_text(node, "auto_pad", {"NOTSET", "VALID"}) || is_set(node, "ceil_mode"))
        refuse("pads that follow from the size are not known here");
    Window window = {kernel, integers(node, "strides", Sides{1, 1}),
                     integers(node, "dilations", Sides{1, 1}),
                     integers(node, "pads", Sides{0, 0, 0, 0})};
    if (integers(node, "kernel_shape", kernel) != kernel || kernel.size() != 2 ||
        window.strides.size() != 2 || window.dilations.size() != 2 || window.pads.size() != 4 ||
        !are_within(kernel, 1, LARGEST_WINDOW))
        refuse("a kernel of another shape");
    if (!are_within(window.strides, 1, LARGEST_STEP) ||
        !are_within(window.dilations, 1, LARGEST_STEP))
        refuse("strides or dilations out of range");
    if (!are_within(window.pads, 0, LARGEST_STEP * LARGEST_WINDOW)) refuse("pads out of range");
    return window;
}

/* How many places a kernel takes on an image of (height, width). */
Sides slid(const Node &node, const Sides &size, const Sides &kernel) {
    const Window window = window_of(node, kernel);
    if (size.size() < 2) refuse("not an image");
    Sides found;
    for (size_t i = 0; i < 2; i++) {
        const int64_t covered = window.dilations[i] * (kernel[i] - 1) + 1;
        const int64_t room =
            minus(plus(size[i], window.pads[i] + window.pads[i + 2]), covered);
        if (room < 0) refuse("an image smaller than the kernel");
        found.push_back(plus(room / window.strides[i], 1));
    }
    return found;
}

Sides behind(const Shape &shape, size_t number) {
    if (shape.size() < number) refuse("not an image");
    return Sides(shape.begin() + static_cast<std::ptrdiff_t>(number), shape.end());
}

/* The channels that a group of a convolution takes the time of: few take that of 8. */
int64_t width_of(int64_t per_group) { return std::max<int64_t>(8, per_group); }

Outcome convolved(const Node &node, const Inputs &inputs, bool is_last) {
    const Inputs both = given(inputs, 2);
    const Shape &x = both[0]->shape, &weight = both[1]->shape;
    Sides size = behind(x, 1);
    const Sides kernel = behind(weight, 2);
    if (size.empty()) refuse("not an image");
    const int64_t depth = is_last ? size.back() : size.front();
    size.erase(is_last ? size.end() - 1 : size.begin());
    const int64_t outputs = weight[0], per_group = weight[1], groups = integer(node, "group", 1);
    if (groups < 1 || depth != times(per_group, groups) || outputs % groups != 0)
        refuse("the weights are for another number of channels");
    const Value *bias = is_last ? nullptr : at(inputs, 2);
    if (bias && bias->shape != Shape{outputs}) refuse("biases of another number");
    const Sides sides = slid(node, size, kernel);
    const Shape shape = is_last ? Shape{x[0], sides[0], sides[1], outputs}
                                : Shape{x[0], outputs, sides[0], sides[1]};
    const int64_t each = amount(width_of(per_group), count(kernel));
    return one(of_shape(shape), amount(count(shape), each));
}

Outcome convolution(const Node &node, const Inputs &inputs) {
    return convolved(node, inputs, false);
}

Outcome quantized_convolution(const Node &node, const Inputs &inputs) {
    if (inputs.size() < 4) refuse("an input is absent");
    Inputs values = {inputs[0], inputs[3], nullptr};
    if (inputs.size() > 8) values.push_back(inputs[8]);
    return convolved(node, values, is_set(node, "channels_last"));
}

/* The sides of an image that a transposed convolution gives; they may come out negative. */
Sides spread(const Node &node, const Sides &size, const Sides &kernel) {
    const Window window = window_of(node, kernel);
    const Sides extra = integers(node, "output_padding", Sides{0, 0});
    if (extra.size() != 2 || !are_within(extra, 0, LARGEST_STEP - 1))
        refuse("output padding out of range");
    if (size.size() != 2) refuse("not an image");
    Sides found;
    for (size_t i = 0; i < 2; i++) {
        const int64_t around = extra[i] + window.dilations[i] * (kernel[i] - 1) + 1 -
                               window.pads[i] - window.pads[i + 2];
        found.push_back(plus(times(window.strides[i], size[i] - 1), around));
    }
    return found;
}

Outcome transposed_convolution(const Node &node, const Inputs &inputs) {
    const Inputs both = given(inputs, 2);
    const Shape &x = both[0]->shape, &weight = both[1]->shape;
    const Sides size = behind(x, 2), kernel = behind(weight, 2);
    const int64_t groups = integer(node, "group", 1), per_group = weight[1];
    if (find(node, "output_shape") || groups < 1 || weight[0] != x[1] || x[1] % groups != 0)
        refuse("the weights are for another number of channels");
    const Sides sides = spread(node, size, kernel);
    const Shape shape = {x[0], times(per_group, groups), sides[0], sides[1]};
    const int64_t each = amount(width_of(per_group), count(kernel));
    return one(of_shape(shape), amount_sum(amount(count(x), each), count(shape)));
}

Outcome global_pool(const Node &, const Inputs &inputs) {
    const Shape &x = given(inputs, 1)[0]->shape;
    Shape shape = x;
    for (size_t i = 2; i < shape.size(); i++) shape[i] = 1;
    return one(of_shape(std::move(shape)), count(x));
}

Outcome max_pool(const Node &node, const Inputs &inputs) {
    const Inputs only = given(inputs, 1);
    const Sides kernel = integers(node, "kernel_shape");
    if (only.size() != 1 || node.outputs.size() != 1 || is_set(node, "storage_order"))
        refuse("the places of the largest values are not known here");
    const Shape &x = only[0]->shape;
    const Sides sides = slid(node, behind(x, 2), kernel);
    const Shape shape = {x[0], x[1], sides[0], sides[1]};
    return one(of_shape(shape), amount(count(shape), count(kernel)));
}

const Shape &image(const Inputs &inputs) {
    const Shape &x = given(inputs, 1)[0]->shape;
    if (x.size() != 4) refuse("not an image");
    return x;
}

Outcome depth_to_space(const Node &node, const Inputs &inputs) {
    const Shape &x = image(inputs);
    const int64_t side = integer(node, "blocksize");
    if (side < 1 || x[1] % times(side, side) != 0) refuse("blocks of another size");
    return one(of_shape({x[0], x[1] / (side * side), times(x[2], side), times(x[3], side)}));
}

Outcome space_to_depth(const Node &node, const Inputs &inputs) {
    const Shape &x = image(inputs);
    const int64_t side = integer(node, "blocksize");
    if (side < 1 || x[2] % side != 0 || x[3] % side != 0) refuse("blocks of another size");
    return one(of_shape({x[0], times(x[1], times(side, side)), x[2] / side, x[3] / side}));
}

/* The numbers of a value as float32; none where they are not known. */
std::vector<float> factors(const Value &value) {
    std::vector<float> found;
    for (int64_t each : value.integers) found.push_back(static_cast<float>(each));
    for (double each : value.reals) found.push_back(static_cast<float>(each));
    return found;
}

/* The shape that is `factors` as large. ONNX Runtime multiplies in float32, too. */
Shape enlarged(const Shape &shape, const std::vector<float> &by) {
    constexpr float LARGEST = 4611686018427387904.0f; /* 2^62 */
    if (by.size() != shape.size()) refuse("by another number of factors");
    Shape result;
    for (size_t i = 0; i < shape.size(); i++) {
        if (!(by[i] > 0 && by[i] <= static_cast<float>(LARGEST_STEP)))
            refuse("by a factor out of range");
        const float side = std::floor(static_cast<float>(shape[i]) * by[i]);
        if (!(side < LARGEST)) refuse("a size is out of range");
        result.push_back(static_cast<int64_t>(side));
    }
    return result;
}

Outcome resize(const Node &node, const Inputs &inputs) {
    const Value *x = at(inputs, 0), *scales = at(inputs, 2), *sizes = at(inputs, 3);
    if (!x || find(node, "axes")) refuse("along some axes");
    if (!is_text(node, "keep_aspect_ratio_policy", {"stretch"})) refuse("by another policy");
    const bool has_scales = scales && count(scales->shape) != 0;
    Shape shape;
    if (has_scales) shape = enlarged(x->shape, factors(*scales));
    if (!has_scales && sizes) shape = integers_of(*sizes);
    if (shape.size() != x->shape.size()) refuse("to no size");
    const int64_t values = amount_sum(count(shape), count(x->shape));
    return one(of_shape(std::move(shape)), amount(16, values));
}

Outcome pad(const Node &, const Inputs &inputs) {
    const Value *x = at(inputs, 0), *pads = at(inputs, 1);
    if (!x || !pads) refuse("by nothing");
    for (size_t i = 3; i < inputs.size(); i++)
        if (inputs[i]) refuse("along some axes");
    const Sides &around = integers_of(*pads);
    const size_t rank = x->shape.size();
    if (around.size() != 2 * rank || !are_within(around, -LARGEST_STEP, LARGEST_STEP))
        refuse("by numbers out of range");
    Shape shape = x->shape;
    for (size_t i = 0; i < rank; i++) shape[i] = plus(shape[i], around[i] + around[i + rank]);
    const int64_t values = count(shape);
    return one(of_shape(std::move(shape)), values);
}

}  // namespace

Rule window_rule_of(const std::string &op) {
    static const std::map<std::string, Rule> RULES = {
        {"Conv", convolution},
        {"ConvTranspose", transposed_convolution},
        {"GlobalAveragePool", global_pool},
        {"MaxPool", max_pool},
        {"DepthToSpace", depth_to_space},
        {"SpaceToDepth", space_to_depth},
        {"Resize", resize},
        {"Pad", pad},
        {"com.microsoft::QLinearConv", quantized_convolution},
    };
    const auto found = RULES.find(op);
    return found == RULES.end() ? nullptr : found->second;
}

}  // namespace pcsr::onnx
