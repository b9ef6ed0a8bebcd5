// What the tests of attention share: sizes, documents, options.
#pragma once

#include <cmath>

#include "core/ops/attention.hpp"
#include "tests/support/op_case.hpp"

namespace phasor::attention_samples {

// q [batch, heads, q_length, qk_dim], k [batch, kv_heads, k_length, qk_dim], v [batch, kv_heads, k_length, v_dim]
struct Sizes {
  int64_t batch, heads, kv_heads, q_length, k_length, qk_dim, v_dim;
};

inline Tensors qkv(const Sizes& n, Random& random) {
  return {random_tensor({n.batch, n.heads, n.q_length, n.qk_dim}, random),
          random_tensor({n.batch, n.kv_heads, n.k_length, n.qk_dim}, random),
          random_tensor({n.batch, n.kv_heads, n.k_length, n.v_dim}, random)};
}

// As models have them: [batch, length, heads, width] in memory.
inline Tensor heads_inside(const Tensor& x) { return x.transpose(1, 2).contiguous().transpose(1, 2); }

inline Tensor normal_bias(const Shape& shape, uint64_t seed) {
  Random random{.seed = seed};
  return random_tensor(shape, random);
}

constexpr Extents several_tiles = {300, 40};

// Documents of 4, 5, 6, ... tokens; the second batch row starts with a longer one. The ids do not grow.
inline Tensor segments_for(int64_t batch, int64_t k_length) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < batch; ++row) {
    int64_t left = 4 + 3 * row, length = left;
    int32_t document = 7;
    for (int64_t j = 0; j < k_length; ++j) {
      ids.push_back(document);
      if (--left == 0) document = (document + 5) % 11, left = ++length;
    }
  }
  return Tensor::of<int32_t>({batch, k_length}, ids);
}

// Which leading axes of the tables of a rotation are there.
enum class TableAxes { length, heads_and_length, batch };

// Tables for q and k of these shapes, f64 on the CPU: component p of key index t turns by t / 10^(p / 4), with gains of
// their own for q and k, each head and each batch row.
inline AttentionRotation rotation_for(const Shape& q, const Shape& k, TableAxes axes, RotaryLayout layout,
                                      int64_t components) {
  const auto tables = [&](const Shape& x, double gain, Tensor& cos, Tensor& sin) {
    const bool has_batch = axes == TableAxes::batch, has_heads = axes == TableAxes::heads_and_length;
    const Shape shape{has_batch ? x[0] : 1, has_heads ? x[1] : 1, has_batch ? 1 : x[2], components};
    cos = Tensor::empty(shape, Dtype::f64);
    sin = Tensor::empty(shape, Dtype::f64);
    for (int64_t b = 0; b < shape[0]; ++b)
      for (int64_t h = 0; h < shape[1]; ++h)
        for (int64_t i = 0; i < shape[2]; ++i)
          for (int64_t p = 0; p < components; ++p) {
            const auto position = static_cast<double>(i + k[2] - x[2]);
            const double angle = position * std::pow(10.0, -static_cast<double>(p) / 4) + static_cast<double>(b);
            const double own_gain = gain * (1 + 0.1 * static_cast<double>(h));
            cos.view<double>()(b, h, i, p) = own_gain * std::cos(angle);
            sin.view<double>()(b, h, i, p) = own_gain * std::sin(angle);
          }
  };
  AttentionRotation rotation;
  rotation.layout = layout;
  tables(q, 1.1, rotation.q_cos, rotation.q_sin);
  tables(k, 0.9, rotation.k_cos, rotation.k_sin);
  return rotation;
}

inline AttentionRotation converted(AttentionRotation rotation, Dtype dtype, Device device) {
  for (Tensor* const table : {&rotation.q_cos, &rotation.q_sin, &rotation.k_cos, &rotation.k_sin})
    *table = table->to(dtype).to(device);
  return rotation;
}

struct Variant {
  std::string name;
  std::function<AttentionOptions(const Tensors&)> options;
};

inline const std::vector<Variant> variants = {
    {"causal", [](const Tensors&) { return AttentionOptions{}; }},
    {"not causal, own scale", [](const Tensors&) { return AttentionOptions{.scale = 0.3, .causal = Causal::no}; }},
    {"segments by row",
     [](const Tensors& x) { return AttentionOptions{.segments = segments_for(x[0].extent(0), x[1].extent(2))}; }},
    {"segments for all rows, not causal",
     [](const Tensors& x) {
       // On the device of the others; above on the CPU, which serves everywhere.
       return AttentionOptions{.causal = Causal::no, .segments = segments_for(1, x[1].extent(2)).to(x[0].device())};
     }},
};

}  // namespace phasor::attention_samples
