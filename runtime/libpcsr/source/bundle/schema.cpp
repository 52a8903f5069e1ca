#include "bundle/schema.h"

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bundle/text.h"
#include "failure.h"

namespace pcsr {

namespace {

using Schema = nlohmann::ordered_json;

constexpr size_t SHOWN = 80; /* characters of a value that is refused */

/* Where a value is. Its text is made for messages alone: keys of a file may be very long. */
struct Place {
    const Place *outer;
    const std::string *name; /* of a member, or nullptr */
    size_t index;            /* of an item */

    std::string text() const {
        if (outer == nullptr) return "";
        std::string before = outer->text();
        if (name == nullptr) return before + "[" + std::to_string(index) + "]";
        return before.empty() ? *name : before + "." + *name;
    }
};

/* Writes JSON as Python does, at least `most` characters where there are so many. */
template <typename Value>
void write(const Value &value, size_t most, std::string &out) {
    if (out.size() > most) return;
    if (!value.is_structured()) {
        out += value.dump(-1, ' ', true);
        return;
    }
    out += value.is_array() ? "[" : "{";
    bool is_first = true;
    for (const auto &[key, item] : value.items()) {
        if (out.size() > most) return;
        if (!is_first) out += ", ";
        is_first = false;
        if (value.is_object()) out += Json(key).dump(-1, ' ', true) + ": ";
        write(item, most, out);
    }
    out += value.is_array() ? "]" : "}";
}

template <typename Value>
std::string written(const Value &value, size_t most = SIZE_MAX) {
    std::string out;
    write(value, most, out);
    return out.substr(0, most);
}

bool is_named(const Json &value, const std::string &type) {
    if (type == "null") return value.is_null();
    if (type == "boolean") return value.is_boolean();
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    return type == "integer" ? value.is_number_integer() : type == "number" && value.is_number();
}

bool is_of(const Json &value, const Schema &types) {
    if (types.is_string()) return is_named(value, types.get<std::string>());
    for (const Schema &type : types)
        if (is_named(value, type.get<std::string>())) return true;
    return false;
}

bool equals(const Json &value, const Schema &choice) { return value == Json(choice); }

bool is_one_of(const Json &value, const Schema &choices) {
    for (const Schema &choice : choices)
        if (value.is_number_float() == choice.is_number_float() && equals(value, choice))
            return true;
    return false;
}

double number(const Json &value) { return value.get<double>(); }
double number(const Schema &value) { return value.get<double>(); }

bool is_any(const Json &) { return true; }
bool is_number(const Json &value) { return value.is_number(); }
bool is_array(const Json &value) { return value.is_array(); }
bool is_string(const Json &value) { return value.is_string(); }

bool is_not_less(const Json &value, const Schema &bound) { return number(value) >= number(bound); }
bool is_more(const Json &value, const Schema &bound) { return number(value) > number(bound); }
bool is_not_more(const Json &value, const Schema &bound) { return number(value) <= number(bound); }
bool has_items(const Json &value, const Schema &count) { return value.size() >= count; }
bool has_no_more_items(const Json &value, const Schema &count) { return value.size() <= count; }

bool is_short(const Json &value, const Schema &count) {
    return character_count(value.get_ref<const std::string &>()) <= count;
}

/* The schema has one pattern, that of a text of one character or more, none of them NUL. */
bool matches(const Json &value, const Schema &pattern) {
    if (pattern != "^[^\\u0000]+$")
        throw Failure(PCSR_ERROR_INTERNAL, "the schema has a pattern that is not known here");
    const std::string &text = value.get_ref<const std::string &>();
    return !text.empty() && text.find('\0') == std::string::npos;
}

struct Rule {
    const char *keyword;
    bool (*concerns)(const Json &);
    bool (*holds)(const Json &, const Schema &);
    const char *before, *after; /* what the message says around the expected value */
};

constexpr Rule RULES[] = {
    {"type", is_any, is_of, "", ""},
    {"enum", is_any, is_one_of, "one of ", ""},
    {"const", is_any, equals, "", ""},
    {"minimum", is_number, is_not_less, "at least ", ""},
    {"exclusiveMinimum", is_number, is_more, "more than ", ""},
    {"maximum", is_number, is_not_more, "at most ", ""},
    {"minItems", is_array, has_items, "", " or more items"},
    {"maxItems", is_array, has_no_more_items, "at most ", " items"},
    {"maxLength", is_string, is_short, "at most ", " characters"},
    {"pattern", is_string, matches, "text like ", ""},
};
/* What is looked at elsewhere, and what only people read. */
constexpr const char *OTHER_KEYWORDS[] = {
    "$ref",     "if",       "then",  "else",  "items",       "required", "properties",
    "additionalProperties", "$defs", "title", "description", "$schema",
};

const Rule *rule_of(const std::string &keyword) {
    for (const Rule &rule : RULES)
        if (keyword == rule.keyword) return &rule;
    for (const char *other : OTHER_KEYWORDS)
        if (keyword == other) return nullptr;
    throw Failure(PCSR_ERROR_INTERNAL, "the schema has " + keyword + ", which is not known here");
}

class Check {
public:
    explicit Check(const Schema &root) : root_(root) {}

    /* Whether a value fits a part of the schema; where not, and refusal is not nullptr, why. */
    bool fits(const Json &value, const Schema &part, const Place &place,
              std::string *refusal) const {
        for (const auto &[keyword, expected] : part.items()) {
            const Rule *rule = rule_of(keyword);
            if (rule == nullptr || !rule->concerns(value) || rule->holds(value, expected)) continue;
            if (refusal)
                *refusal = found(place, rule->before + written(expected) + rule->after, value);
            return false;
        }
        return fits_others(value, part, place, refusal) &&
               fits_items(value, part, place, refusal) &&
               fits_members(value, part, place, refusal);
    }

private:
    const Schema &root_;

    static std::string found(const Place &place, const std::string &expected, const Json &value) {
        const std::string where = place.text();
        return (where.empty() ? "manifest" : where) + ": expected " + expected + ", found " +
               written(value, SHOWN);
    }

    /* Holds the same value against the other parts of the schema that apply to it. */
    bool fits_others(const Json &value, const Schema &part, const Place &place,
                     std::string *refusal) const {
        static const std::string HERE = "#/$defs/";
        if (const auto at = part.find("$ref"); at != part.end()) {
            const std::string name = at->get<std::string>().substr(HERE.size());
            if (!fits(value, root_.at("$defs").at(name), place, refusal)) return false;
        }
        if (const auto condition = part.find("if"); condition != part.end()) {
            const char *branch = fits(value, *condition, place, nullptr) ? "then" : "else";
            const auto at = part.find(branch);
            if (at != part.end() && !fits(value, *at, place, refusal)) return false;
        }
        return true;
    }

    bool fits_items(const Json &value, const Schema &part, const Place &place,
                    std::string *refusal) const {
        const auto items = part.find("items");
        if (items == part.end() || !value.is_array()) return true;
        for (size_t i = 0; i < value.size(); i++)
            if (!fits(value[i], *items, {&place, nullptr, i}, refusal)) return false;
        return true;
    }

    bool fits_members(const Json &value, const Schema &part, const Place &place,
                      std::string *refusal) const {
        if (!value.is_object()) return true;
        static const Schema NONE = Schema::object();
        const auto known = part.find("properties"), others = part.find("additionalProperties");
        const auto required = part.find("required");
        for (const Schema &name : required == part.end() ? NONE : *required) {
            if (value.contains(name.get<std::string>())) continue;
            const std::string where = place.text();
            if (refusal)
                *refusal = (where.empty() ? "manifest" : where) + ": no " + name.get<std::string>();
            return false;
        }
        const Schema &named = known == part.end() ? NONE : *known;
        const Schema &unnamed = others == part.end() ? NONE : *others;
        for (const auto &[name, item] : value.items()) {
            const auto at = named.find(name);
            const Schema &inner = at == named.end() ? unnamed : *at;
            if (inner.is_boolean()) {
                if (refusal) *refusal = found(place, "only " + written(names(named)), name);
                return false;
            }
            if (!fits(item, inner, {&place, &name, 0}, refusal)) return false;
        }
        return true;
    }

    static Json names(const Schema &members) {
        Json all = Json::array();
        for (const auto &[name, part] : members.items()) all.push_back(name);
        return all;
    }
};

}  // namespace

void check_manifest(const Json &manifest) {
    static const Schema schema = Schema::parse(MANIFEST_SCHEMA);
    std::string refusal;
    if (!Check(schema).fits(manifest, schema, {nullptr, nullptr, 0}, &refusal))
        throw std::invalid_argument(refusal);
}

}  // namespace pcsr
