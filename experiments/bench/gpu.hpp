// What the benchmarks of a GPU share: timing work that goes on after its call has returned, and large inputs.
#pragma once

#include <functional>
#include <string>

#include "core/random.hpp"
#include "experiments/bench/measure.hpp"
#include "experiments/bench/result.hpp"

namespace phasor {

// Something on the GPU to time: `run` recorded once, launched as often as it takes to last `seconds`, between two
// waits. What cannot be recorded is asked for again and again instead.
Subject on_gpu(const std::string& name, const std::function<void()>& run, double work, double seconds);

// How long a repetition lasts on the GPU; as Effort has it, but the subjects see to it themselves.
constexpr double gpu_seconds = 0.03;
inline double gpu_seconds_of(const BenchOptions& options) { return options.quick ? 0 : gpu_seconds; }
inline Effort gpu_effort(const BenchOptions& options) {
  return {.repetitions = options.effort().repetitions, .seconds = 0};
}

// Numbers of a normal distribution; a million of them, over and over.
Tensor random_on_gpu(const Shape& shape, Dtype dtype, Random& random);

// Runs a check. False, with a remark, if it finds a wrong number: then that alone is not timed.
bool holds(const std::function<void()>& check, const std::string& name, std::vector<std::string>& remarks);

}  // namespace phasor
