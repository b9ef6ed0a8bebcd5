// Held-out losses, added in double in the order of the windows.
#include "experiments/evaluation.hpp"

#include <cmath>
#include <numbers>

#include "experiments/corpora/corpus.hpp"

namespace phasor {

double Evaluation::perplexity() const { return std::exp(loss); }
double Evaluation::bits_per_byte() const { return loss / std::numbers::ln2; }

double mean_loss(const std::vector<double>& loss_by_position) {
  double mean = 0;
  for (const double loss : loss_by_position) mean += loss / static_cast<double>(loss_by_position.size());
  return mean;
}

int64_t windows_at_once(int64_t length) { return std::max<int64_t>(1, 4096 / length); }

Evaluation evaluate(const Transformer& model, std::span<const uint8_t> text, int64_t length, int64_t bytes) {
  const NoGradient scope;
  const TokenWindows all = evaluation_windows(text, length, bytes);
  Evaluation result{.length = length, .windows = all.inputs.extent(0), .loss = 0, .loss_by_position = {}};
  result.loss_by_position.resize(static_cast<size_t>(length));
  const int64_t at_once = windows_at_once(length);
  for (int64_t first = 0; first < result.windows; first += at_once) {
    const int64_t last = std::min(first + at_once, result.windows);
    const Tensor losses =
        cross_entropy_by_row(model.logits(all.inputs.slice(0, first, last)), all.targets.slice(0, first, last))
            .value()
            .to(Device::cpu)
            .to(Dtype::f64);
    const View<double> at = losses.view<double>();
    for (int64_t window = 0; window < last - first; ++window) {
      double& of_window = result.loss_by_window.emplace_back(0);
      for (int64_t position = 0; position < length; ++position) {
        result.loss_by_position[static_cast<size_t>(position)] += at(window, position);
        of_window += at(window, position) / static_cast<double>(length);
      }
    }
  }
  for (size_t position = 0; position < result.loss_by_position.size(); ++position) {
    double& loss = result.loss_by_position[position];
    loss /= static_cast<double>(result.windows);
    require<NumericError>(std::isfinite(loss), "evaluation", model.shape().encoding, ": in windows of ", length,
                          " tokens the loss is not finite at position ", position,
                          "; needs numbers at every position (eval.lengths)");
  }
  result.loss = mean_loss(result.loss_by_position);
  return result;
}

}  // namespace phasor
