// Edit distance and the messages made with it.
#include "core/nearest_name.hpp"

#include <algorithm>
#include <numeric>

namespace phasor {

// Levenshtein distance, one row at a time.
static size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row.back();
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t smallest = name.size() / 2 + 1;
  for (const std::string& candidate : candidates)
    if (const size_t distance = edit_distance(name, candidate); distance < smallest) {
      smallest = distance;
      nearest = candidate;
    }
  return nearest;
}

std::string unknown_name(const std::string& kind, const std::string& name, const std::vector<std::string>& candidates) {
  std::string message = "no " + kind + " named '" + name + "'";
  if (const std::string nearest = nearest_name(name, candidates); !nearest.empty())
    message += "; did you mean '" + nearest + "'?";
  message += "; known: ";
  for (size_t i = 0; i < candidates.size(); ++i) message += (i ? ", " : "") + candidates[i];
  return message;
}

}  // namespace phasor
