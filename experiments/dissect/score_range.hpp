// Score range: which scores leave, in longer texts, the range that training has shown, and by which components.
#pragma once

#include "experiments/dissect/components.hpp"
#include "experiments/report/measurement.hpp"

namespace phasor {

// Components by index, and behind them "total": the whole score, before biases (Site::score).
Dimension components_and_total(int64_t components);

// "score_range" [bound, layer, head, component], bound: lowest, highest; component: components_and_total(). The least
// and the greatest part of a score over all pairs of a query and a key that it sees, distance 0 included, in the
// windows ids [windows, train_length]. UsageError if the model's encoding turns no components; ValueError unless there
// is a window and the windows have the length of training.
Measurement score_range(const Transformer& model, const Tensor& ids);

// Where bins of distances begin, from 1 to below `length`; the last one ends at `length`. Powers of two and the
// quarters between them that are whole numbers, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ..., and train_length.
std::vector<int64_t> distance_bins(int64_t length, int64_t train_length);

// "beyond_range" [layer, component, distance]: the share of pairs whose part of the score lies outside the range of its
// layer, head and component, over windows, heads and the distances of a bin; component as in `range`, distance is where
// a bin of distance_bins() begins. The windows are ids [windows, length]; in those that gave the range the share is 0.
// Memory grows with the length of one window alone. ValueError unless there is a window of at least two tokens and the
// range is of a model of this shape.
Measurement beyond_range(const Transformer& model, const Measurement& range, const Tensor& ids);

// A share of pairs outside above which scores have left their range.
constexpr double left_range = 0.01;

// "leaves_range_at" [layer, component]: the first distance bin from train_length on where the share is above
// left_range, NaN if there is none.
Measurement leaves_range_at(const Measurement& beyond_range, int64_t train_length);

}  // namespace phasor
