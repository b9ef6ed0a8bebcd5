// Indexing and stacking of measurements.
#include "experiments/report/measurement.hpp"

#include <limits>

#include "core/error.hpp"

namespace phasor {

Dimension indices(const std::string& name, int64_t count) {
  Dimension dimension{.name = name};
  for (int64_t i = 0; i < count; ++i) dimension.numbers.push_back(static_cast<double>(i));
  return dimension;
}

Measurement::Measurement(const std::string& name_, const std::vector<Dimension>& dimensions_)
    : name(name_), dimensions(dimensions_) {
  int64_t size = 1;
  for (const Dimension& dimension : dimensions) size *= dimension.size();
  values.assign(static_cast<size_t>(size), std::numeric_limits<double>::quiet_NaN());
}

static size_t offset_of(const Measurement& m, const std::vector<int64_t>& index) {
  const char* const name = m.name.c_str();
  require<ValueError>(index.size() == m.dimensions.size(), name, "an index of ", index.size(), " numbers for ",
                      m.dimensions.size(), " dimensions");
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) {
    const int64_t size = m.dimensions[i].size();
    require<ValueError>(index[i] >= 0 && index[i] < size, name, m.dimensions[i].name, " ", index[i], " of ", size);
    offset = offset * size + index[i];
  }
  return static_cast<size_t>(offset);
}

double& Measurement::at(const std::vector<int64_t>& index) { return values[offset_of(*this, index)]; }
double Measurement::at(const std::vector<int64_t>& index) const { return values[offset_of(*this, index)]; }

Measurement stacked(const Dimension& along, const std::vector<Measurement>& parts) {
  require<ValueError>(!parts.empty() && along.size() == static_cast<int64_t>(parts.size()), "stacked", parts.size(),
                      " measurements for ", along.size(), " entries of ", along.name, "; needs one for each, and one");
  Measurement all;
  all.name = parts[0].name;
  all.dimensions = parts[0].dimensions;
  all.dimensions.insert(all.dimensions.begin(), along);
  for (const Measurement& part : parts) {
    require<ValueError>(part.name == all.name && part.dimensions == parts[0].dimensions, "stacked", "'", part.name,
                        "' does not have the dimensions of '", all.name, "'");
    all.values.insert(all.values.end(), part.values.begin(), part.values.end());
  }
  return all;
}

}  // namespace phasor
