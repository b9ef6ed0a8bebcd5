// Where the heads of a trained model attend: to [bos], how widely, how far, and to which tokens of a repeated text.
#pragma once

#include <span>
#include <vector>

#include "experiments/dissect/heads.hpp"
#include "experiments/report/measurement.hpp"

namespace phasor {

// Measures of one pattern [windows, heads, length, length], f32 or f64, whose rows sum to 1: means over windows and
// the queries after [bos], by head. [bos] is key 0, and the query of position m sees the keys 0 .. m.
struct PatternMeasures {
  std::vector<double> sink;           // [heads]: attention to [bos]
  std::vector<double> distance;       // [heads]: mean distance in tokens, weighted by attention
  std::vector<double> peak_distance;  // [heads]: distance of the largest weight; among equals the nearest
  std::vector<double> entropy;        // [heads, length], of each query: -sum of a log a, in nats
};
PatternMeasures measure_pattern(const Tensor& pattern);

struct Patterns {
  Measurement sink;                // "sink" [length, layer, head]
  Measurement distance;            // "attended_distance" [length, layer, head], tokens
  Measurement peak_distance;       // "peak_distance" [length, layer, head], tokens
  Measurement entropy;             // "entropy" [layer, head, query], nats, in windows of the longest length
  Measurement normalised_entropy;  // "normalised_entropy": over log(visible keys); NaN for the first query
};

// Reads `windows` windows of each length from the start of the text, or as many as it has. FileError if that is none.
Patterns attention_patterns(const Transformer& model, std::span<const uint8_t> text,
                            const std::vector<int64_t>& lengths, int64_t windows);

constexpr int64_t shortest_repeated = 5;  // [bos] and two tokens twice

// [windows, 1 + 2 half] i32, half = (length - 1) / 2: [bos], random bytes of `text`, and the same bytes again.
// ValueError if length < shortest_repeated.
Tensor repeated_windows(std::span<const uint8_t> text, int64_t windows, int64_t length);

// Head scores of one pattern [windows, heads, length, length] of repeated_windows(): the mean attention, by kind and
// head, of
//   previous token   a token t after the first on the token t - 1
//   duplicate token  a token t of the second half on t - half, the same token
//   induction        a token t of the second half on t - half + 1, which came after it
// (TransformerLens's head_detector measures the same mass, on any text.)
std::vector<double> measure_heads(const Tensor& pattern);  // [kinds, heads]

// "head_score" [score, layer, head], ids as repeated_windows() gives them.
Measurement head_scores(const Transformer& model, const Tensor& ids);

}  // namespace phasor
