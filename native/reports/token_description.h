// What a token file says of itself: for people, and as JSON.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "words/token_file.h"

namespace zoodip {

struct TokenDescription {
    struct Encoder {
        std::string name;  // "clip_l"
        std::int64_t vectors = 0, width = 0;
        std::string stored;         // the numbers' type in the file: "F16"
        std::vector<double> norms;  // Euclidean, of each vector
    };
    struct Picture {
        std::string name, sha256, caption;
    };

    std::string word;  // empty when nothing in the file can be one
    TokenFormat format = TokenFormat::comfyui;
    std::vector<Encoder> encoders;
    std::map<std::string, std::string> keys;  // of tensors, by encoder
    std::vector<std::string> others;          // further tensors
    std::vector<std::string> not_read;        // the same for people
    std::optional<std::int64_t> step;         // done when it was written
    bool finished = false;                    // it says that its run had come to its end

    // Of the record that zoodip keeps in its files; empty or absent in those of others.
    bool ours = false;    // there is such a record, readable or not
    std::string version;  // of zoodip
    std::string family;   // "Stable Diffusion 1.x"
    std::string initialiser;
    std::vector<std::string> learned_with;  // other words, in the same captions
    std::string model;                      // SHA-256 of the weights
    std::optional<std::int64_t> seed;
    nlohmann::json settings = nlohmann::json::object();  // all that decide the numbers
    nlohmann::json changed = nlohmann::json::object();   // those that leaving out would alter
    std::vector<Picture> pictures;
    std::string compute_choice;  // why the run's products are of their type, where it chose
    std::string folder;  // what was read of the pictures' folder and what was left out, in one line
    nlohmann::json more = nlohmann::json::object();  // the rest of the record

    std::map<std::string, std::string> metadata;  // what other programs wrote
};

// Never throws for what is in the metadata.
TokenDescription describe_token(const TokenFile& token);

// {word, format, encoders: [{name, vectors, width, stored, norms}], others, step, finished, zoodip:
// {version, family, initialiser, model, seed, settings, changed, pictures: [{name, sha256,
// caption}], compute_choice, folder, more}, metadata}; null for what is not known.
nlohmann::json to_json(const TokenDescription& token);

// The same as lines.
std::string to_text(const TokenDescription& token);

}  // namespace zoodip
