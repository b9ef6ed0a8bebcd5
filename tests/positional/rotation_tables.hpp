// What the tests of rotations share: shapes, tables at positions, and the frequencies and gains read back from them.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "nn/positional/encoding.hpp"
#include "tests/support/comparison.hpp"

namespace phasor {

inline AttentionShape shape_of(int64_t head_dim, int64_t train_length, double factor = 8, double base = 10000) {
  return {.layers = 8,
          .width = 4 * head_dim,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = head_dim,
          .train_length = train_length,
          .rope_base = base,
          .factor = factor,
          .dtype = Dtype::f64};
}

inline PositionalEncoding made(const std::string& name, const AttentionShape& shape) {
  ParameterList learned;
  return encoding_named(name).make(shape, learned);
}

// `input` [1, length, width] is what the layer reads, for encodings that look at it.
inline RotaryTables tables_at(const PositionalEncoding& encoding, const Tensor& positions, int64_t current_length = 1,
                              Dtype dtype = Dtype::f64, int64_t layer = 0, const Tensor& input = {}) {
  PositionalContext context;
  context.layer = layer;
  context.layer_input = context.key_input = input;
  context.q = Tensor::empty({0, 0, 0, 0}, dtype);
  context.q_positions = context.k_positions = positions;
  context.current_length = current_length;
  return encoding.rotation->tables(context);
}

inline Tensor at_position(double position) { return Tensor::full({1, 1}, position, Dtype::f64); }

// Frequency and gain of every component: angle and length of (cos, sin) at position 1. No frequency exceeds 1.
struct Waves {
  std::vector<double> frequency, gain;
};

inline Waves waves_of(const PositionalEncoding& encoding, int64_t current_length = 1) {
  const RotaryTables t = tables_at(encoding, at_position(1), current_length);
  CHECK(bit_mismatch(t.k_cos.value(), t.q_cos.value()) == "");
  CHECK(bit_mismatch(t.k_sin.value(), t.q_sin.value()) == "");
  Waves waves;
  for (int64_t i = 0; i < t.q_cos.extent(3); ++i) {
    const double cos = t.q_cos.value().view<double>()(0, 0, 0, i), sin = t.q_sin.value().view<double>()(0, 0, 0, i);
    waves.frequency.push_back(std::atan2(sin, cos));
    waves.gain.push_back(std::hypot(sin, cos));
  }
  return waves;
}

inline std::vector<double> rope_frequencies(int64_t head_dim, double base = 10000) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i)
    frequencies.push_back(1 / std::pow(base, 2 * static_cast<double>(i) / static_cast<double>(head_dim)));
  return frequencies;
}

// An angle read back by atan2 carries a rounding or two of the cosine: 1e-16 against the smallest sine's 1e-6.
inline bool close(double got, double expected) {
  return std::abs(got - expected) <= 1e-13 * std::abs(expected) + 1e-17;
}

inline void check_frequencies(const Waves& waves, const std::vector<double>& expected, double gain = 1) {
  REQUIRE(waves.frequency.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(close(waves.frequency[i], expected[i]));
    CHECK(close(waves.gain[i], gain));
  }
}

}  // namespace phasor
