// The one layer over Google Benchmark: times a list of things in random order, repetition by repetition, so that
// whatever disturbs the machine for a while touches all of them alike and their ratios survive it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

struct Subject {
  std::string name;
  std::function<void()> run = {};
  double work = 0;                       // operations or bytes of one run
  std::function<void()> check = {};      // throws NumericError if what `run` computes is wrong
  std::function<double()> seconds = {};  // in place of `run`: runs it elsewhere and returns how long that took
};

struct Timing {
  double seconds = 0;  // median over the repetitions
  double spread = 0;   // (upper quartile - lower quartile) / median
  int repetitions = 0;
  bool is_noisy() const { return spread > 0.1; }
};

// How long to look. A repetition runs its subject as often as it takes to last `seconds`.
struct Effort {
  int repetitions = 11;
  double seconds = 0.05;
};

// Checks every subject, then times them all, in their order. Nothing is timed if one of them is wrong.
// On a terminal, stderr shows `label`, how far it is and the time left.
std::vector<Timing> time_interleaved(const std::string& label, const std::vector<Subject>& subjects,
                                     const Effort& effort);

// NumericError unless shapes agree and no element differs by more than `limit` times the largest one expected; NaN
// differs. `what` begins the message. For a check: it tells a wrong number from a rounded one.
void require_close(const char* what, const Tensor& got, const Tensor& expected, double limit = 1e-4);

}  // namespace phasor
