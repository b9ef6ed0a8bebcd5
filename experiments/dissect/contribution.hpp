// Contribution: what each component adds to the scores, by the distance of query and key.
//
//   contribution(c, d) = mean over windows and queries m >= d of component c's part of score(m, m - d)
//
// The parts are those of components.hpp, so that the contributions of all components add up to the mean score at that
// distance, before biases (Chen et al., arXiv:2410.21216, section 2).
#pragma once

#include "experiments/dissect/components.hpp"
#include "experiments/report/measurement.hpp"

namespace phasor {

// "contribution" [layer, head, component, distance], distances 0 to length - 1, for the windows ids [windows, length].
// A distance d is a mean over windows x (length - d) pairs: the last ones rest on few, whose keys are the window's
// first tokens. UsageError if the model's encoding turns no components; ValueError unless there is a window and a
// token.
Measurement contribution(const Transformer& model, const Tensor& ids);

// The mean over the dimension "head", which goes: of a contribution, [layer, component, distance]. ValueError without
// such a dimension.
Measurement mean_over_heads(const Measurement& measurement);

// "contribution_share": how much of the total's curve over the distance is a component's doing,
//
//   share(c) = covariance(contribution(c, .), total) / variance(total),   total = sum over components
//
// The covariances add up to the variance of the total, so the shares add up to 1; a component that works against the
// others has a negative one. Its dimensions are those of a contribution, with or without heads, but for the distance.
// Every distance counts once, as in the drawn curve, however few pairs it is the mean of: weighted by pairs, the
// largest distances, where a window's first tokens stand, would hardly count. Distance 0 is one of them: a token's
// score with itself competes with the others in the softmax. NaN where the total is the same at all distances.
Measurement contribution_share(const Measurement& contribution);

// "cumulative_contribution", of the same dimensions: the sum of the components 0 to c, the fastest ones of the usual
// encodings; at the last component the mean score.
Measurement cumulative(const Measurement& contribution);

}  // namespace phasor
