// Held-out loss of a model at several lengths, on fixed full windows, so that two models compare window by window.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/model.hpp"

namespace phasor {

struct Evaluation {
  int64_t length = 0;
  int64_t windows = 0;
  double loss = 0;                          // mean over all tokens, in nats
  std::vector<double> loss_by_position;     // mean over the windows, [length]
  std::vector<double> loss_by_window = {};  // mean over the positions, [windows]
  double perplexity() const;                // e^loss
  double bits_per_byte() const;             // loss / ln 2: a token is a byte
};

// The mean over positions, added in their order.
double mean_loss(const std::vector<double>& loss_by_position);

// How many windows to read at once: as many as keep the activations near the size of a training step's.
int64_t windows_at_once(int64_t length);

// Windows of `length` from the start of `text`, over at most `bytes` bytes. FileError if the text is shorter than one;
// NumericError, with the encoding, length and position, if a loss is NaN or infinite. A model that only reads badly is
// neither: the loss of finite logits is finite.
Evaluation evaluate(const Transformer& model, std::span<const uint8_t> text, int64_t length, int64_t bytes);

}  // namespace phasor
