// What DAPE and its second version share: a network over the heads adapts a static bias to the scores.
//
//   scores = A + B + network(A, B),   A the scaled scores, B a bias of distances
//
// The network takes the 2 H numbers of A and B at a query and `width` neighbouring keys to 32, through a leaky ReLU,
// and with `width` keys again to H; that ends without a bias, as a number added to all scores of a query changes no
// softmax. B is that of kerple_log, one of those in the paper. Every layer has its own.
#pragma once

#include "nn/positional/encoding.hpp"

namespace phasor {

PositionalEncoding adapted_bias(const AttentionShape& shape, int64_t width, ParameterList& parameters);

}  // namespace phasor
