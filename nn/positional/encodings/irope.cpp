// iRoPE: every fourth layer goes without positions, the others are RoPE (Llama 4's interleaved layers).
//
// Layers 4, 8, 12, ... counted from 1. A model of 2 or 3 layers, which Llama 4 does not have, does without in its last.
// Llama 4 also scales the queries of the layers without positions, and lets the others see 8192 tokens at most: both
// begin to act at 8192 tokens, and are left out.
#include <algorithm>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  require<UsageError>(s.layers >= 2, "irope", "layers with and without positions take turns: model.layers is ",
                      s.layers, "; needs at least 2");
  const int64_t interval = std::min<int64_t>(4, s.layers);
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  const auto tables = PositionalEncoding::rotary(rope).rotation->tables;
  const auto standing = PositionalEncoding::rotary(rope.map([](Component c) {
                          c.frequency = 0;
                          return c;
                        })).rotation->tables;
  PositionalEncoding encoding = PositionalEncoding::rotary(rope);
  encoding.rotation->same_in_every_layer = false;
  encoding.rotation->tables = [=](const PositionalContext& c) {
    return (c.layer + 1) % interval == 0 ? standing(c) : tables(c);
  };
  return encoding;
}

EncodingEntry irope() {
  return {.summary = "rotary, but none in every fourth layer (Llama 4)",
          .paper = "Meta, Llama 4 (2025); before it Yang et al., arXiv:2501.18795",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "The interval of four layers is second-hand, and the 8192 tokens that other layers see.",
          .make = make};
}

}  // namespace phasor::encoding
