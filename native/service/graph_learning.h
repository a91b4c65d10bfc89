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
    std::vector<double> losses;  // of all steps, without those that were not finite
    std::int64_t steps = 0;
    bool finished = true;  // false: asked to stop and to keep; asked again, it goes on
};

// Learns what the request asks for, or finds it learned. weights: what stands for the model, as
// keys_of has it. The request's output is the job's.
//
// What decides: a finished training of the same key is given back; one that ended early goes on;
// else one of fewer steps and otherwise the same inputs is gone on from, and stays as it is.
//
// Throws Cancelled when the job's token was set for another reason than `stop`, and Error for all
// that cannot be done; the job has ended then, and what was learned is kept.
GraphLearned learn(Jobs& jobs, GraphJob& job, GraphRequest request, const std::string& weights,
                   GraphHost& host);

}  // namespace zoodip
