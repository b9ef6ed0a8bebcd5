// "Did you mean": the known name nearest to a misspelt one.
#pragma once

#include <string>
#include <vector>

namespace phasor {

// The candidate with the smallest edit distance, empty if none is near (more than half of the name's letters differ).
std::string nearest_name(const std::string& name, const std::vector<std::string>& candidates);

// no encoding named 'alibbi'; did you mean 'alibi'? known: alibi, cope, hope
std::string unknown_name(const std::string& kind, const std::string& name, const std::vector<std::string>& candidates);

}  // namespace phasor
