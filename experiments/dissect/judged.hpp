// What the findings share: the group of models that a claim about RoPE is judged on, and its components in words.
#pragma once

#include "experiments/dissect/findings.hpp"

namespace phasor {

// The first group of rope, or the first of all where there is none.
class Judged {
 public:
  explicit Judged(const std::vector<Group>& groups);

  const Group& group() const { return *group_; }
  bool is_rope() const { return group_->settings.encoding.name == "rope"; }

  // Means over its seeds; ValueError unless it was measured, with so many dimensions.
  Measurement mean(const std::string& name, size_t dimensions) const;

  // Of a component of head 0, as a multiple of L: infinite where it stands still, NaN where it has none.
  double wavelength(int64_t layer, int64_t component) const;
  bool has_wavelengths() const;  // every component, in every layer
  // Its wavelength is in the band that the claims name: from L / 2 to 4 L.
  bool in_band(int64_t component) const;
  static std::string band_text();
  std::string component_text(int64_t component) const;  // "13 (wavelength 2.07 L)"

  // "one seed" or "3 seeds"
  std::string seeds_text() const;

  // The verdict on a claim about RoPE: undecided, with the reason, where no model here is one; else as given, and said
  // of which models if there are several of rope.
  void decide(Finding& finding, Verdict verdict) const;

 private:
  const Group* group_;
  int64_t ropes_ = 0;  // groups of rope
  Measurement frequency_;
};

// The group of hope, or null.
const Group* group_of_hope(const std::vector<Group>& groups);

// ValueError unless the dimension has the word.
int64_t place_of(const Dimension& dimension, const std::string& word);

// "u_depth" or "u_recency" of a group, all layers together. The error within one seed is known of the depth.
Estimate of_all_layers(const Group& group, const std::string& name);

}  // namespace phasor
