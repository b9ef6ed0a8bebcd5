// SIGINT and SIGTERM as a question to ask between two steps.
#pragma once

#include <stdexcept>
#include <string>

namespace phasor {

// The run was told to stop and has written what it needs to go on.
struct Interrupted : std::runtime_error {
  int signal;
  Interrupted(int signal_, const std::string& what) : std::runtime_error(what), signal(signal_) {}
};

// From now on the first SIGINT or SIGTERM is remembered; a second one ends the process at once. SIGPIPE and SIGXFSZ are
// ignored.
void remember_signals();
int remembered_signal();  // 0, SIGINT or SIGTERM

}  // namespace phasor
