// The explorer: one page, for teaching, on which every component of an encoding is a hand that turns with the distance.
// It needs no training and no network, and computes all it shows by itself (explorer/*.js).
#pragma once

#include <string>
#include <vector>

#include "experiments/settings.hpp"

namespace phasor {

// What the page shows first, unless settings say otherwise.
Settings explorer_defaults();

// The encodings on the page: those whose frequencies and gains are fixed by the settings.
const std::vector<std::string>& explorer_encodings();

// The page, beginning with encoding.name, encoding.base, fraction and factor, train.length, and a head size of
// model.width / model.heads. UsageError for an encoding that it does not have, a number outside its controls' ranges,
// and for any other setting than these that differs from its default: it would change nothing.
std::string explorer_page(const Settings& start);

}  // namespace phasor
