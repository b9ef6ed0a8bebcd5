// Which components a trained model needs: ablations one by one and band by band, and what they cost.
#pragma once

#include <span>
#include <string>

#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect/ablation_log.hpp"
#include "experiments/report/measurement.hpp"
#include "experiments/settings.hpp"
#include "nn/model.hpp"

namespace phasor {

// Differences from the intact model on the same windows, all in one layer or head if the settings say so. Ablations
// that cannot change anything, such as stopping what stands still, are not run: 0.
//   kind    stop, remove, mean
//   way     alone: the component; from fast: the components 0 .. component; from slow: component .. last
//   length  tokens in a window
struct AblationSweep {
  Measurement loss;             // "ablation" [kind, way, component, length]: held-out loss, nats per byte
  Measurement loss_half_width;  // "ablation_half_width": half of its 95 % interval over windows; NaN for one
  // "ablation_of_head" [layer, head, component, length] and "ablation_of_head_half_width": stop, alone, in one head.
  // Query heads that share a key head are stopped together and have the same numbers. NaN for layers and heads that the
  // settings leave out: of a large model, one layer at a time is a matter of minutes.
  Measurement of_head, of_head_half_width;
  Measurement u_depth;     // "ablation_u_depth" [kind: stop or remove, component, layer]: see u_shape.hpp
  Measurement head_score;  // "ablation_head_score" [kind: stop or remove, component, score, layer, head]: patterns.hpp
};

// dissect.lengths, ascending and each once, or L, 2L, 4L as far as the encoding knows positions.
std::vector<int64_t> ablation_lengths(const Transformer& model, const DissectSettings& settings);

// The first dissect.bytes of the held-out text are read; the means of Ablation::mean are over its windows of L tokens.
// UsageError if the encoding turns no components or the settings name a layer or head that the model lacks, before
// anything is run; FileError if the text is shorter than a window; Interrupted on SIGINT or SIGTERM. What `log` holds
// is not run again, and what is run is added to it: a sweep that was stopped ends with the same bits as any other.
AblationSweep ablation_sweep(const Transformer& model, const Split& text, const DissectSettings& settings,
                             const std::string& label, bool quiet, AblationLog* log = nullptr);

}  // namespace phasor
