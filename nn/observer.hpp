// Observer: looks at what passes a Site of the model during forward, or puts something else in its place. It is an
// argument of the forward pass: modules keep no state, and without one nothing costs anything.
//
//   Observer keep{.sites = {Site::pattern}};
//   keep.read = [&](Place at, const Tensor& pattern) { patterns[at.layer] = pattern; };
//   model.logits(ids, {.observer = &keep});
//
// Sites score, score_biased and pattern exist only where scores are stored: an observer that names one of them makes
// every block take the unfused attention (same function, rounding apart; memory grows with the square of the length).
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "autograd/var.hpp"

namespace phasor {

enum class Site {
  embedded,   // [batch, length, width], what enters the first block
  residual,   // [batch, length, width], the stream after a block
  q,          // [batch, heads, length, head_dim]
  k,          // [batch, kv_heads, length, head_dim]; with a cache, of the new tokens
  v,          // [batch, kv_heads, length, head_dim]; likewise
  q_rotated,  // as q (an encoding may have widened it); q itself without a rotation
  k_rotated,  // as k
  q_far,      // as q_rotated, by the far rotation of an encoding that has one
  k_far,
  score,         // [batch, heads, q_length, k_length], scaled q.k
  score_biased,  // the same after bias and transform, before the mask: later keys are not hidden yet
  pattern,       // the same after the softmax
  head_out,      // [batch, heads, length, head_dim], before the heads are merged
  mlp_out,       // [batch, length, width], what the MLP adds to the stream
  logits,        // [batch, length, vocabulary]
};
const char* name_of(Site site);  // "q_rotated"
// UsageError with the nearest name if there is none.
Site site_named(const std::string& name);

struct Place {
  Site site;
  int64_t layer;  // -1 for embedded and logits
};

// Values are shown on the CPU, whatever the model runs on: measurements need not know.
struct Observer {
  std::vector<Site> sites;  // which ones are shown; each once in a forward pass, in the order of computation
  std::function<void(Place, const Tensor& value)> read = {};
  // Returns what takes the value's place, of its shape and dtype (ShapeError, DtypeError). Read comes before it.
  std::function<Var(Place, const Var& value)> replace = {};

  bool wants(Site site) const { return std::find(sites.begin(), sites.end(), site) != sites.end(); }
  bool wants_scores() const { return wants(Site::score) || wants(Site::score_biased) || wants(Site::pattern); }
};

// `value`, or what the observer puts in its place. `observer` may be null.
Var observed(const Observer* observer, Place place, const Var& value);

}  // namespace phasor
