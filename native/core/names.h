// The names of an enum's values: what JSON, the command line, Python and messages call them. Inside
// the engine there are the values alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/listed.h"

namespace zoodip {

template <class T>
struct Named {
    T value;
    std::string name;
};

// Every value once, in the order in which choices are listed.
template <class T>
using NameTable = std::vector<Named<T>>;

// What a choice is called that is left open; its value is std::nullopt.
inline constexpr const char* open_name = "auto";

template <class T>
NameTable<std::optional<T>> with_auto(const NameTable<T>& table) {
    NameTable<std::optional<T>> all = {{std::nullopt, open_name}};
    for (const auto& [value, name] : table) all.push_back({value, name});
    return all;
}

template <class T>
std::vector<std::string> names_in(const NameTable<T>& table) {
    std::vector<std::string> names;
    for (const auto& [value, name] : table) names.push_back(name);
    return names;
}

template <class T>
std::string name_of(const NameTable<T>& table, const std::type_identity_t<T>& value) {
    for (const auto& named : table) {
        if (named.value == value) return named.name;
    }
    fail("a value of ", listed_or(names_in(table)), " has no name");
}

// nullptr for another name.
template <class T>
const T* find_named(const NameTable<T>& table, std::string_view name) {
    for (const auto& named : table) {
        if (named.name == name) return &named.value;
    }
    return nullptr;
}

// Throws Error that lists the choices for another name; `what` is what they are choices of.
template <class T>
const T& value_named(const NameTable<T>& table, const char* what, std::string_view name) {
    const T* found = find_named(table, name);
    require(found != nullptr, what, ": needs ", listed_or(names_in(table)), ", got '", name, "'");
    return *found;
}

}  // namespace zoodip
