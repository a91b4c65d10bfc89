// Settings, each declared once: name, type, range, default, unit, help, equation. Command line,
// JSON, Python and the reference page are made from the declaration.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/listed.h"
#include "core/names.h"

namespace zoodip {

// A member whose values have names: the struct holds the value, all else knows its name.
template <class Owner>
struct NamedMember {
    std::function<std::string(const Owner&)> get;
    std::function<void(Owner&, const std::string& name)> set;  // one of the setting's choices
};

template <class Owner, class T>
NamedMember<Owner> named_member(T Owner::*member, NameTable<T> table) {
    return {
        [=](const Owner& owner) { return name_of(table, owner.*member); },
        [=](Owner& owner, const std::string& name) { owner.*member = *find_named(table, name); }};
}

// One field of the struct Owner. The default is the value in a fresh Owner.
template <class Owner>
struct Setting {
    std::string name;
    std::variant<std::int64_t Owner::*, double Owner::*, bool Owner::*, std::string Owner::*,
                 NamedMember<Owner>>
        member;
    double low = 0, high = 0;          // numbers: inclusive
    std::vector<std::string> choices;  // text and names: empty allows any text
    std::string unit;
    std::string help;  // two sentences at most
    std::string equation;
    std::string notes = {};  // more of it, for the reference page alone
    bool decides = true;     // whether another value makes another result
    std::string group;       // under which heading the reference page has it
};

// The candidate with the fewest edits to `name`; empty when there are none.
std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates);

// 5 -> "5", 0.001 -> "0.001", 1e-08 -> "1e-08"; whole numbers to the last digit.
std::string format_number(double value);

namespace detail {

template <class Owner>
void set_number(Owner& owner, const Setting<Owner>& setting, const nlohmann::json& value) {
    const bool whole = std::holds_alternative<std::int64_t Owner::*>(setting.member);
    const bool ok = value.is_number() && (!whole || value.is_number_integer());
    const double number = ok ? value.get<double>() : 0;
    require(ok && std::isfinite(number) && number >= setting.low && number <= setting.high,
            setting.name, ": needs a ", whole ? "whole number" : "number", " from ",
            format_number(setting.low), " to ", format_number(setting.high), ", got ",
            show_json(value));
    if (whole) {
        owner.*std::get<std::int64_t Owner::*>(setting.member) = value.get<std::int64_t>();
    } else {
        owner.*std::get<double Owner::*>(setting.member) = number;
    }
}

template <class Owner>
void set_string(Owner& owner, const Setting<Owner>& setting, const nlohmann::json& value) {
    require(value.is_string(), setting.name, ": needs text, got ", show_json(value));
    const auto text = value.get<std::string>();
    require(is_utf8(text), setting.name, ": needs text in UTF-8, got ", show_json(value));
    const auto& choices = setting.choices;
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
        fail(setting.name, ": needs one of ", listed(choices), "; got '", text, "'");
    }
    if (const auto* named = std::get_if<NamedMember<Owner>>(&setting.member)) {
        named->set(owner, text);
    } else {
        owner.*std::get<std::string Owner::*>(setting.member) = text;
    }
}

}  // namespace detail

// Sets one field. Throws Error with the range or the choices.
template <class Owner>
void set_field(Owner& owner, const Setting<Owner>& setting, const nlohmann::json& value) {
    if (std::holds_alternative<bool Owner::*>(setting.member)) {
        require(value.is_boolean(), setting.name, ": needs true or false, got ", show_json(value));
        owner.*std::get<bool Owner::*>(setting.member) = value.get<bool>();
    } else if (std::holds_alternative<std::int64_t Owner::*>(setting.member) ||
               std::holds_alternative<double Owner::*>(setting.member)) {
        detail::set_number(owner, setting, value);
    } else {
        detail::set_string(owner, setting, value);
    }
}

// Throws Error for an unknown name, with the nearest one.
template <class Owner>
const Setting<Owner>& find_setting(const std::vector<Setting<Owner>>& settings,
                                   const std::string& name) {
    const auto found = std::find_if(settings.begin(), settings.end(),
                                    [&](const auto& s) { return s.name == name; });
    if (found != settings.end()) return *found;
    std::vector<std::string> names;
    for (const auto& s : settings) names.push_back(s.name);
    fail("settings: there is no '", name, "'; did you mean '", nearest_name(name, names), "'?");
}

// Sets the fields that a JSON object names. Throws Error for an unknown name, with the nearest one.
template <class Owner>
void set_fields(Owner& owner, const std::vector<Setting<Owner>>& settings,
                const nlohmann::json& values) {
    require(values.is_object(), "settings: needs a JSON object, got ", show_json(values));
    for (const auto& [name, value] : values.items()) {
        set_field(owner, find_setting(settings, name), value);
    }
}

template <class Owner>
nlohmann::json get_field(const Owner& owner, const Setting<Owner>& setting) {
    return std::visit(
        [&](const auto& member) -> nlohmann::json {
            if constexpr (std::is_member_object_pointer_v<std::decay_t<decltype(member)>>) {
                return owner.*member;
            } else {
                return member.get(owner);
            }
        },
        setting.member);
}

// Every field by name.
template <class Owner>
nlohmann::json get_fields(const Owner& owner, const std::vector<Setting<Owner>>& settings) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& setting : settings) out[setting.name] = get_field(owner, setting);
    return out;
}

// The declarations as JSON: [{name, type, default, minimum, maximum, choices, unit, help,
// equation, notes, decides: false, group}], in the order declared.
template <class Owner>
nlohmann::json describe_fields(const std::vector<Setting<Owner>>& settings) {
    static const char* types[] = {"integer", "number", "boolean", "string", "string"};
    nlohmann::json out = nlohmann::json::array();
    for (const auto& setting : settings) {
        nlohmann::json entry = {{"name", setting.name},
                                {"type", types[setting.member.index()]},
                                {"default", get_field(Owner{}, setting)},
                                {"help", setting.help}};
        if (setting.member.index() < 2) {
            entry["minimum"] = setting.low;
            entry["maximum"] = setting.high;
        }
        if (!setting.choices.empty()) entry["choices"] = setting.choices;
        if (!setting.unit.empty()) entry["unit"] = setting.unit;
        if (!setting.equation.empty()) entry["equation"] = setting.equation;
        if (!setting.notes.empty()) entry["notes"] = setting.notes;
        if (!setting.decides) entry["decides"] = false;
        if (!setting.group.empty()) entry["group"] = setting.group;
        out.push_back(std::move(entry));
    }
    return out;
}

}  // namespace zoodip
