// A model whose queries, keys and values are given: in every layer each token has the vectors that a test chose.
#pragma once

#include <cmath>
#include <string>

#include "core/error.hpp"
#include "nn/model.hpp"

namespace phasor {

// vectors[token][channel], channels of all heads (q) or key heads (k, v) one after the other; f64 [tokens, channels].
struct TokenVectors {
  Tensor q, k, v;
};

// Embeddings are rows of a large unit matrix, so that the norm before attention makes sqrt(width) times a unit vector
// of each, and the projections read off a row. Attention and MLP add nothing to the stream. Needs width >= vocabulary.
inline Transformer token_model(ModelShape shape, const TokenVectors& vectors) {
  shape.dtype = Dtype::f64;
  const Transformer model(shape, 1);
  const int64_t tokens = shape.vocabulary, width = shape.width;
  const auto projection = [&](const Tensor& rows) {
    const Tensor weight = Tensor::zeros({width, rows.extent(1)}, Dtype::f64);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t c = 0; c < rows.extent(1); ++c)
        weight.view<double>()(t, c) = rows.view<double>()(t, c) / std::sqrt(static_cast<double>(width));
    return weight;
  };
  for (const Parameter& p : model.parameters().all()) {
    const auto is = [&](const char* end) { return p.name.ends_with(end); };
    if (is("embedding.weight")) {
      const Tensor unit = Tensor::zeros({tokens, width}, Dtype::f64);
      for (int64_t t = 0; t < tokens; ++t) unit.view<double>()(t, t) = 1e12;
      p.var.assign(unit);
    }
    if (is("attention.q.weight")) p.var.assign(projection(vectors.q));
    if (is("attention.k.weight")) p.var.assign(projection(vectors.k));
    if (is("attention.v.weight")) p.var.assign(projection(vectors.v));
    if (is("attention.out.weight") || is("mlp.down.weight")) p.var.assign(Tensor::zeros(p.var.shape(), Dtype::f64));
  }
  return model;
}

}  // namespace phasor
