// Split and windows: which bytes a model learns from and is measured on, and in which order.
#include <algorithm>

#include "core/error.hpp"
#include "core/random.hpp"
#include "experiments/corpora/corpus.hpp"

namespace phasor {

constexpr uint64_t data_stream = 0x64617461;  // "data": apart from the streams that draw the weights

Split split(const Corpus& corpus) {
  const std::span<const uint8_t> text = corpus.bytes;
  const size_t held_out = text.size() / 20;
  return {text.first(text.size() - held_out), text.last(held_out)};
}

static void require_window(const char* part, size_t bytes, int64_t length) {
  if (static_cast<int64_t>(bytes) >= length) return;
  throw FileError("corpus: the " + std::string(part) + " text has " + std::to_string(bytes) +
                  " bytes; needs at least " + std::to_string(length) + " for one window");
}

static TokenWindows empty_windows(int64_t windows, int64_t length) {
  return {Tensor::empty({windows, length}, Dtype::i32), Tensor::empty({windows, length}, Dtype::i32)};
}

static void fill_window(const TokenWindows& windows, int64_t window, std::span<const uint8_t> text) {
  const int64_t length = windows.inputs.extent(1);
  int32_t* const inputs = windows.inputs.data<int32_t>() + window * length;
  inputs[0] = bos_token;
  std::copy(text.begin(), text.end() - 1, inputs + 1);
  std::copy(text.begin(), text.end(), windows.targets.data<int32_t>() + window * length);
}

TokenWindows training_batch(std::span<const uint8_t> text, int64_t batch, int64_t length, uint64_t seed, int64_t step) {
  require_window("training", text.size(), length);
  const int64_t offsets = static_cast<int64_t>(text.size()) - length + 1;
  // One block of random bits for each window of the run, so that step k is reached without drawing those before it.
  // (below() takes another block once in 2^40 draws; the next window then repeats a draw, which harms nothing.)
  Random random{.seed = seed, .stream = data_stream, .counter = static_cast<uint64_t>(step * batch)};
  const TokenWindows windows = empty_windows(batch, length);
  for (int64_t window = 0; window < batch; ++window) {
    fill_window(windows, window, text.subspan(static_cast<size_t>(random.below(offsets)), static_cast<size_t>(length)));
  }
  return windows;
}

TokenWindows evaluation_windows(std::span<const uint8_t> text, int64_t length, int64_t bytes) {
  const std::span<const uint8_t> read = text.first(std::min(text.size(), static_cast<size_t>(bytes)));
  require_window("held-out", read.size(), length);
  const TokenWindows windows = empty_windows(static_cast<int64_t>(read.size()) / length, length);
  for (int64_t window = 0; window < windows.inputs.extent(0); ++window) {
    fill_window(windows, window, read.subspan(static_cast<size_t>(window * length), static_cast<size_t>(length)));
  }
  return windows;
}

}  // namespace phasor
