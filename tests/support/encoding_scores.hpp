// What an encoding makes of queries, keys and a layer's input, through every part that it may have: for the tests that
// loop over the encodings, and for those of one.
#pragma once

#include "core/random.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {

// x [1, length, width] enters the first block; q and k are given beside it, [1, heads or kv_heads, length, head_dim].
struct EncodingInputs {
  Var q, k, x;
};
EncodingInputs random_encoding_inputs(const AttentionShape& shape, int64_t length, uint64_t seed);

struct Encoded {
  Var embedded;  // x after `embed`
  Var q, k;      // after features and rotation
  Var scores;    // [1, heads, length, length] before the softmax, scaled by 1 / sqrt(head_dim); 0 where no query sees
};
Encoded encoded(const PositionalEncoding& encoding, const EncodingInputs& inputs, const Tensor& positions,
                const AttentionShape& shape, int64_t layer = 0);

// Moves what is learned (where the name begins with `prefix`) a little from where it starts, within its bounds.
void stir(const ParameterList& parameters, uint64_t seed, const std::string& prefix = "");

}  // namespace phasor
