// Joins measurements of several models along their common dimensions.
#include "experiments/dissect/groups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"

namespace phasor {
namespace {

// All entries of the dimensions, numbers in rising order, words as they come.
Dimension united(const std::vector<const Dimension*>& parts) {
  Dimension all{.name = parts[0]->name};
  for (const Dimension* part : parts) {
    require<ValueError>(part->name == all.name, "dissect", "measurements of '", all.name, "' and of '", part->name,
                        "' do not go together");
    for (const double number : part->numbers)
      if (std::find(all.numbers.begin(), all.numbers.end(), number) == all.numbers.end()) all.numbers.push_back(number);
    for (const std::string& word : part->words)
      if (std::find(all.words.begin(), all.words.end(), word) == all.words.end()) all.words.push_back(word);
  }
  std::sort(all.numbers.begin(), all.numbers.end());
  return all;
}

std::vector<int64_t> places_in(const Dimension& all, const Dimension& part) {
  std::vector<int64_t> places;
  for (const double number : part.numbers)
    places.push_back(std::find(all.numbers.begin(), all.numbers.end(), number) - all.numbers.begin());
  for (const std::string& word : part.words)
    places.push_back(std::find(all.words.begin(), all.words.end(), word) - all.words.begin());
  return places;
}

// The same measurement with entries for all of `dimensions`; NaN where it has none.
Measurement spread(const Measurement& part, const std::vector<Dimension>& dimensions) {
  Measurement all(part.name, dimensions);
  std::vector<std::vector<int64_t>> places;
  for (size_t i = 0; i < dimensions.size(); ++i) places.push_back(places_in(dimensions[i], part.dimensions[i]));
  std::vector<int64_t> index(dimensions.size());
  for (size_t at = 0; at < part.values.size(); ++at) {
    size_t rest = at;
    for (size_t i = dimensions.size(); i-- > 0;) {
      const size_t size = static_cast<size_t>(part.dimensions[i].size());
      index[i] = places[i][rest % size];
      rest /= size;
    }
    all.at(index) = part.values[at];
  }
  return all;
}

// 179 and -179 degrees point the same way, not to 0.
double mean_direction(const std::vector<double>& angles) {
  double x = 0, y = 0;
  for (const double angle : angles) {
    x += std::cos(angle);
    y += std::sin(angle);
  }
  return std::atan2(y, x);
}

}  // namespace

std::optional<Stacked> stacked(const std::vector<Group>& groups, const std::string& name) {
  Dimension labels{.name = "encoding"};
  std::vector<std::vector<const Measurement*>> found;
  std::vector<const Measurement*> every;
  size_t fewest = std::numeric_limits<size_t>::max();
  for (const Group& group : groups) {
    std::vector<const Measurement*> of_group;
    for (const Dissection& seed : group.seeds)
      if (const Measurement* m = seed.find(name)) of_group.push_back(m);
    if (of_group.empty()) continue;
    fewest = std::min(fewest, of_group.size());
    labels.words.push_back(group.label);
    found.push_back(of_group);
    every.insert(every.end(), of_group.begin(), of_group.end());
  }
  if (found.empty()) return {};
  std::vector<Dimension> dimensions;
  for (size_t i = 0; i < every[0]->dimensions.size(); ++i) {
    std::vector<const Dimension*> parts;
    for (const Measurement* m : every) {
      require<ValueError>(m->dimensions.size() == every[0]->dimensions.size(), "dissect", "measurements of '", name,
                          "' have ", m->dimensions.size(), " and ", every[0]->dimensions.size(), " dimensions");
      parts.push_back(&m->dimensions[i]);
    }
    dimensions.push_back(united(parts));
  }
  std::vector<Measurement> means;
  std::vector<double> half_widths;
  for (const std::vector<const Measurement*>& of_group : found) {
    std::vector<Measurement> seeds;
    for (const Measurement* m : of_group) seeds.push_back(spread(*m, dimensions));
    Measurement& mean = means.emplace_back(name, dimensions);
    for (size_t i = 0; i < mean.values.size(); ++i) {
      std::vector<double> values;
      for (const Measurement& seed : seeds)
        if (!std::isnan(seed.values[i])) values.push_back(seed.values[i]);
      const Interval interval = values.empty()           ? Interval{std::nan(""), std::nan("")}
                                : name == "offset_angle" ? Interval{mean_direction(values), std::nan("")}
                                                         : interval_of_mean(values);
      mean.values[i] = interval.mean;
      half_widths.push_back(std::isfinite(interval.half_width) ? interval.half_width : std::nan(""));
    }
  }
  if (fewest < 2) half_widths.clear();
  return Stacked{stacked(labels, means), half_widths};
}

std::vector<double> over_seeds(const Group& group, const std::string& name, const std::vector<int64_t>& index) {
  std::vector<double> values;
  for (const Dissection& seed : group.seeds)
    if (const Measurement* m = seed.find(name)) values.push_back(m->at(index));
  return values;
}

std::optional<double> number_of(const Group& group, const std::string& name) {
  const Measurement* const m = group.seeds.at(0).find(name);
  if (!m || !m->dimensions.empty()) return {};
  return m->values.at(0);
}

Measurement mean_over_seeds(const Group& group, const std::string& name) {
  const std::optional<Stacked> all = stacked({group}, name);
  if (!all) return {};
  Measurement mean = all->means;
  mean.dimensions.erase(mean.dimensions.begin());
  return mean;
}

Estimate estimate(const std::vector<double>& seeds, std::optional<double> half_width, int decimals) {
  Estimate result{.interval = interval_of_mean(seeds), .text = {}};
  std::string over = fmt::format("{} seeds", seeds.size());
  if (seeds.size() == 1) {
    over = half_width ? "over windows, one seed" : "one seed";
    if (half_width) result.interval.half_width = *half_width;
  }
  result.text = std::isfinite(result.interval.half_width)
                    ? fmt::format("{:+.{}f} ±{:.{}f} ({})", result.interval.mean, decimals, result.interval.half_width,
                                  decimals, over)
                    : fmt::format("{:+.{}f} ({})", result.interval.mean, decimals, over);
  return result;
}

}  // namespace phasor
