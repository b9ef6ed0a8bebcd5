// The handlers that only remember.
#include "experiments/signals.hpp"

#include <csignal>

namespace phasor {

static volatile std::sig_atomic_t remembered = 0;

void remember_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { remembered = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the default, which ends the process, is back for the second one
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows beyond ulimit -f is an error of write()
}

int remembered_signal() { return remembered; }

}  // namespace phasor
