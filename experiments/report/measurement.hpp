// Measurement: numbers along named dimensions, such as a contribution for each layer, head, component and distance.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace phasor {

// One of the two lists is empty: entries have numbers (distances, steps) or words (names of encodings).
struct Dimension {
  std::string name;  // "distance": a column of a CSV file
  std::vector<double> numbers = {};
  std::vector<std::string> words = {};

  int64_t size() const { return static_cast<int64_t>(numbers.empty() ? words.size() : numbers.size()); }
  bool operator==(const Dimension&) const = default;
};

// 0, 1, ..., count - 1: layers, heads, components.
Dimension indices(const std::string& name, int64_t count);

struct Measurement {
  std::string name;  // "contribution": of files, and of the column of its numbers
  std::vector<Dimension> dimensions;
  std::vector<double> values;  // row-major over the dimensions; NaN where there is nothing to measure

  // All values NaN.
  Measurement(const std::string& name, const std::vector<Dimension>& dimensions);
  Measurement() = default;

  // By an index for each dimension, in order; ValueError unless there are as many and each is inside.
  double& at(const std::vector<int64_t>& index);
  double at(const std::vector<int64_t>& index) const;
};

// Joins measurements of the same name and dimensions along a new first dimension, one entry for each. ValueError where
// they differ.
Measurement stacked(const Dimension& along, const std::vector<Measurement>& parts);

}  // namespace phasor
