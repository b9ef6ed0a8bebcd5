// The transformer that tests of the model's parts share: grouped heads, f64, small enough to run in milliseconds.
#pragma once

#include "nn/model.hpp"

namespace phasor {

constexpr int64_t small_vocabulary = 19;

inline ModelShape small_model(const std::string& encoding, int64_t train_length) {
  return {.vocabulary = small_vocabulary,
          .width = 32,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .hidden = 24,
          .train_length = train_length,
          .encoding = encoding,
          .dtype = Dtype::f64};
}

}  // namespace phasor
