// Closed forms: what frequencies alone say about lengths, without a model.
#pragma once

#include "experiments/report/measurement.hpp"
#include "nn/positional/spectrum.hpp"

namespace phasor {

// "decay" [distance], distances 0 to length - 1: the score of equal queries and keys, as a share of that at distance 0,
//
//   B(m) = sum over components of gain^2 cos(m frequency) / sum of gain^2
//
// (Su et al., arXiv:2104.09864, section 3.4.3). ValueError if all gains are 0.
Measurement decay(const Spectrum& spectrum, int64_t length);

// The first distance m with B(m) < 0, from where on a query may prefer a random key to an equal one (Men et al.,
// arXiv:2405.14591); NaN if there is none up to `limit`.
double first_negative_distance(const Spectrum& spectrum, int64_t limit);

// The smallest base of Spectrum::geometric with B(m) >= 0 for all m <= length, the bound of Men et al. Whether a base
// has it is not monotone: of 32 components and 512 tokens 3439 has it and 3500 has not. All powers of 1.001 up to 1e30
// are tried in order, and the first that has it is returned: at most 0.1 % too large, unless all bases of an interval
// narrower than that have it. NaN if none has it.
double smallest_base(int64_t components, int64_t length);

// How many channels of a head turn once within the training length,
//
//   2 ceil((head_dim / 2) log_base(train_length / (2 pi)))
//
// and no fewer than 0 nor more than head_dim (Liu et al., arXiv:2310.05209, section 4).
int64_t critical_dimension(int64_t head_dim, double base, int64_t train_length);

// "angle_coverage" [component]: the share of the circle that a component sees within `length`,
// min(1, length x frequency / (2 pi)).
Measurement angle_coverage(const Spectrum& spectrum, int64_t length);

// "unseen_angles" [component]: of the angles that a component meets within `length`, the share that it never sees
// within train_length. Angles are taken as arcs from 0 on, as if distances were real numbers. 0 for one that stands
// still.
Measurement unseen_angles(const Spectrum& spectrum, int64_t train_length, int64_t length);

}  // namespace phasor
