// A training that a graph asks for: taken from what is kept, gone on with, or begun.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "jobs/jobs.h"
#include "train/plan.h"

namespace zoodip {

// What the graph's program is asked for, from the thread that learns. An exception thrown from here
// ends the training.
class GraphHost {
  public:
    virtual ~GraphHost() = default;
    // To make so many bytes free on its device.
    virtual void free_memory(std::uint64_t bytes) = 0;
    // What its own model makes of given inputs, for the self-check.
    virtual SelfCheck expected() = 0;
    // To hold its own model small until `learn` returns.
    virtual void park() = 0;
    // Called a few times a second while steps are made, and after the last one.
    virtual void on_step(std::int64_t step, std::int64_t steps) = 0;
    // The share of the time that previews may take, from 0 (none) to 1; latents -> a JPEG, empty
    // where nothing can draw them.
    virtual double preview_share() const = 0;
    virtual std::string draw(std::int64_t step, const at::Tensor& latents) = 0;
};

struct GraphLearned {
    std::filesystem::path token;
    std::vector<std::filesystem::path> also;  // tokens of further words, in their order
    std::vector<double> losses;               // of all steps, without those that were not finite
    std::int64_t steps = 0;
    bool finished = true;  // false: asked to stop and to keep; asked again, it goes on
};

// One of the words that a node asks for at once, most often the only one.
struct GraphSubject {
    GraphJob* job;
    GraphRequest request;
};

// Learns what the requests ask for, over one copy of the model, or finds it learned. weights: what
// stands for the model, as keys_of has it. Each request's output is its job's.
//
// What decides for each: a finished training of the same key is given back; one that ended early
// goes on; else one of fewer steps and otherwise the same inputs is gone on from, and stays as it
// is. The others are learned together. The first one's job is the node's: a wish to stop it is one
// for all.
//
// Throws Cancelled when a job's token was set for another reason than `stop`, and Error for all
// that cannot be done: once all have ended, the first one's. What was learned is kept.
std::vector<GraphLearned> learn(Jobs& jobs, std::vector<GraphSubject> subjects,
                                const std::string& weights, GraphHost& host);

}  // namespace zoodip
