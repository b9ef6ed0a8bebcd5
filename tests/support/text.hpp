// What tests ask of texts.
#pragma once

#include <string>

namespace phasor::testing {

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace phasor::testing
