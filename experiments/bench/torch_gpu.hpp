// PyTorch on the same GPU: torch_gpu.py, in a process of its own that works only while it is asked to.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/bench/measure.hpp"

namespace phasor {

class PythonProcess;

class TorchOnGpu {
 public:
  // UsageError without a Python whose PyTorch sees a GPU.
  TorchOnGpu();
  const std::string& version() const { return version_; }

  // Makes PyTorch do `task`, JSON as torch_gpu.py describes it, once, and returns it as something to time. None where
  // PyTorch cannot, or has no time left to compile it.
  std::optional<Subject> subject(const std::string& name, const std::string& task, double work);
  // Adds a sentence for each of those, and forgets them.
  void tell_refusals(std::vector<std::string>& remarks);

 private:
  std::shared_ptr<PythonProcess> process_;
  std::string version_;
  int prepared_ = 0;
  std::vector<std::string> refusals_;
};

}  // namespace phasor
