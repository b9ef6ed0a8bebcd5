#include "experiments/bench/torch.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/bench/python_process.hpp"
#include "experiments/corpora/corpus.hpp"

namespace phasor {
namespace {

std::string settings_json(const Settings& s) {
  return nlohmann::json{{"width", s.model.width},        {"layers", s.model.layers},
                        {"heads", s.model.heads},        {"hidden", s.model.hidden},
                        {"length", s.train.length},      {"batch", s.train.batch},
                        {"vocabulary", byte_vocabulary}, {"learning_rate", s.train.learning_rate}}
      .dump();
}

void require_known_model(const Settings& s) {
  Settings plain;
  plain.model.width = s.model.width;
  plain.model.layers = s.model.layers;
  plain.model.heads = s.model.heads;
  plain.model.hidden = s.model.hidden;
  plain.model.init_deviation = s.model.init_deviation;
  require<UsageError>(s.model == plain.model && s.encoding.name == "rope" && s.train.accumulate == 1, "bench",
                      "--against torch knows Llama's block with rope; model.norm, mlp, bias, head, kv_heads, "
                      "train.accumulate and encoding.name must keep their defaults");
}

}  // namespace

TorchStep::TorchStep(const Settings& settings, int threads) : threads_(threads) {
  require_known_model(settings);
  process_ = std::make_shared<PythonProcess>(
      "torch_lm.py", std::vector{settings_json(settings), std::to_string(threads)}, threads,
      "no Python with PyTorch found: needs python3 with the package torch (on Debian: apt-get install "
      "python3-torch); leave out --against torch to time Phasor alone");
  const nlohmann::json ready = nlohmann::json::parse(process_->first_line());
  version_ = ready.at("torch");
  parameters_ = ready.at("parameters");
  imported_bytes_ = ready.at("imported_bytes");
}

std::string TorchStep::name() const {
  return fmt::format("PyTorch {}, {} {}", version_, threads_, threads_ == 1 ? "thread" : "threads");
}

void TorchStep::require_parameters(int64_t expected) const {
  require<NumericError>(parameters_ == expected, "bench", "PyTorch's model has ", parameters_, " parameters, Phasor's ",
                        expected, "; only the same model is compared");
}

double TorchStep::run() { return nlohmann::json::parse(process_->ask("step")).at("seconds"); }

TorchStep::Memory TorchStep::memory() const {
  return {nlohmann::json::parse(process_->ask("memory")).at("peak_bytes"), imported_bytes_};
}

}  // namespace phasor
