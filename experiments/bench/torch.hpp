// PyTorch beside a benchmark: the same model, trained by torch_lm.py in a process of its own that works only while it
// is asked to.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "experiments/settings.hpp"

namespace phasor {

class PythonProcess;

class TorchStep {
 public:
  // Starts it and waits until it has taken its first steps. UsageError if no Python with PyTorch is found, or for a
  // model that torch_lm.py does not have.
  TorchStep(const Settings& settings, int threads);

  std::string name() const;                         // "PyTorch 1.13.1, 2 threads"
  void require_parameters(int64_t expected) const;  // NumericError unless it has as many
  double run();                                     // one training step; returns its seconds

  struct Memory {
    int64_t peak_bytes, imported_bytes;  // resident at most, and before the model was made
  };
  Memory memory() const;

 private:
  std::shared_ptr<PythonProcess> process_;
  int threads_;
  std::string version_;
  int64_t parameters_ = 0, imported_bytes_ = 0;
};

}  // namespace phasor
