// Picks the group, and puts its components into words.
#include "experiments/dissect/judged.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"

namespace phasor {

constexpr double band_from = 0.5, band_to = 4;  // multiples of L

static Measurement mean_of(const Group& group, const std::string& name, size_t dimensions) {
  Measurement mean = mean_over_seeds(group, name);
  require<ValueError>(!mean.values.empty() && mean.dimensions.size() == dimensions, "dissect", name, " of ",
                      group.label, " was not measured");
  return mean;
}

Judged::Judged(const std::vector<Group>& groups) : group_(&groups.at(0)) {
  for (const Group& group : groups)
    if (group.settings.encoding.name == "rope" && ropes_++ == 0) group_ = &group;
  frequency_ = mean("frequency", 3);
}

Measurement Judged::mean(const std::string& name, size_t dimensions) const {
  return mean_of(*group_, name, dimensions);
}

double Judged::wavelength(int64_t layer, int64_t component) const {
  const auto length = static_cast<double>(group_->settings.train.length);
  return 2 * std::numbers::pi / std::abs(frequency_.at({layer, 0, component})) / length;
}

bool Judged::has_wavelengths() const {
  return std::none_of(frequency_.values.begin(), frequency_.values.end(), [](double f) { return std::isnan(f); });
}

bool Judged::in_band(int64_t component) const {
  return wavelength(0, component) >= band_from && wavelength(0, component) <= band_to;
}

std::string Judged::band_text() { return fmt::format("wavelengths from {} L to {} L", band_from, band_to); }

std::string Judged::component_text(int64_t component) const {
  const double length = wavelength(0, component);
  return std::isnan(length)   ? fmt::format("{} (no single wavelength)", component)
         : std::isinf(length) ? fmt::format("{} (stands still)", component)
                              : fmt::format("{} (wavelength {:.2f} L)", component, length);
}

std::string Judged::seeds_text() const {
  return group_->seeds.size() == 1 ? "one seed" : fmt::format("{} seeds", group_->seeds.size());
}

void Judged::decide(Finding& finding, Verdict verdict) const {
  finding.verdict = is_rope() ? verdict : Verdict::undecided;
  if (!is_rope()) finding.measured += " The claim is about RoPE, and no model here is trained with rope.";
  if (ropes_ > 1) finding.measured += fmt::format(" Judged on {}.", group_->label);
}

const Group* group_of_hope(const std::vector<Group>& groups) {
  for (const Group& group : groups)
    if (group.settings.encoding.name == "hope") return &group;
  return nullptr;
}

int64_t place_of(const Dimension& dimension, const std::string& word) {
  const auto found = std::find(dimension.words.begin(), dimension.words.end(), word);
  require<ValueError>(found != dimension.words.end(), "dissect", "no '", word, "' among the ", dimension.name, "s");
  return found - dimension.words.begin();
}

Estimate of_all_layers(const Group& group, const std::string& name) {
  const int64_t all = place_of(mean_of(group, name, 1).dimensions[0], "all");
  std::optional<double> error;
  if (name == "u_depth" && group.seeds.size() == 1) error = mean_of(group, "u_depth_half_width", 1).at({all});
  return estimate(over_seeds(group, name, {all}), error);
}

}  // namespace phasor
