#include "experiments/bench/torch_gpu.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "experiments/bench/python_process.hpp"

namespace phasor {

TorchOnGpu::TorchOnGpu()
    : process_(std::make_shared<PythonProcess>("torch_gpu.py", std::vector<std::string>{}, 1,
                                               "no Python whose PyTorch sees this GPU found: needs python3 with the "
                                               "package torch, built for CUDA; leave out "
                                               "--against torch to time Phasor alone")) {
  version_ = nlohmann::json::parse(process_->first_line()).at("torch");
}

std::optional<Subject> TorchOnGpu::subject(const std::string& name, const std::string& task, double work) {
  const nlohmann::json ready = nlohmann::json::parse(process_->ask(task));
  if (ready.contains("refusal")) {
    refusals_.push_back(fmt::format("PyTorch did not time {}: {}", name, ready.at("refusal").get<std::string>()));
    return {};
  }
  const std::string question = nlohmann::json{{"task", "time"}, {"index", prepared_++}}.dump();
  return Subject{.name = "PyTorch, " + name, .work = work, .seconds = [process = process_, question] {
                   return nlohmann::json::parse(process->ask(question)).at("seconds").get<double>();
                 }};
}

void TorchOnGpu::tell_refusals(std::vector<std::string>& remarks) {
  remarks.insert(remarks.end(), refusals_.begin(), refusals_.end());
  refusals_.clear();
}

}  // namespace phasor
