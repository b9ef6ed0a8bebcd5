// What a call was refused with: the message of its UsageError, or "accepted".
#pragma once

#include <string>

#include "core/error.hpp"

namespace phasor {

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace phasor
