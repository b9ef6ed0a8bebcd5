// The progress line: what fits, and when it is written.
#include "experiments/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace phasor {

std::string duration_text(double seconds) {
  const int64_t whole = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e9) + 0.5);
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

static std::string rate_text(double tokens_per_second) {
  if (tokens_per_second < 1e4) return fmt::format("{:.0f} tokens/s", tokens_per_second);
  if (tokens_per_second < 1e7) return fmt::format("{:.0f}k tokens/s", tokens_per_second * 1e-3);
  return fmt::format("{:.0f}M tokens/s", tokens_per_second * 1e-6);
}

std::string progress_line(const ProgressState& state, int columns) {
  struct Part {
    std::string text;
    int weight;  // the lightest is left out first
  };
  // The count is padded to the width it grows to, so that nothing behind it moves.
  const std::string steps = std::to_string(state.steps);
  std::vector<Part> parts = {
      {state.label, 1},
      {fmt::format("{:>{}}/{}", state.step, steps.size(), steps), 5},
      {fmt::format("loss {:.4f}", state.loss), 3},
      {rate_text(state.tokens_per_second), 2},
      {"ETA " + duration_text(state.seconds_left), 4},
  };
  if (!(state.tokens_per_second > 0)) parts.erase(parts.begin() + 3);
  if (std::isnan(state.loss)) parts.erase(parts.begin() + 2);
  if (state.label.empty()) parts.erase(parts.begin());
  for (;;) {
    std::string line;
    for (const Part& part : parts) line += (line.empty() ? "" : "  ") + part.text;
    const size_t room = static_cast<size_t>(std::max(columns, 1));
    if (line.size() <= room || parts.size() == 1) return line.substr(0, room);
    parts.erase(
        std::min_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.weight < b.weight; }));
  }
}

static bool is_terminal(FILE* stream) {
  const char* const term = std::getenv("TERM");
  return isatty(fileno(stream)) && !(term && std::strcmp(term, "dumb") == 0);
}

static int terminal_columns(FILE* stream) {
  winsize size = {};
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

Progress::Progress(std::string label, int64_t steps, bool quiet, int64_t first_step, FILE* stream)
    : stream_(stream), quiet_(quiet), first_step_(first_step), shown_step_(first_step) {
  state_.label = std::move(label);
  state_.steps = steps;
  in_place_ = !quiet && is_terminal(stream);
  start_ = shown_ = Clock::now();
}

// In place ten times a second; as lines every tenth of the run, but no more than one in five seconds. The last step is
// always shown.
bool Progress::is_due(Clock::time_point now) const {
  if (state_.step >= state_.steps) return true;
  if (in_place_) return now - shown_ >= std::chrono::milliseconds(100);
  return state_.step - shown_step_ >= (state_.steps + 9) / 10 && now - shown_ >= std::chrono::seconds(5);
}

// A stream that cannot be written must not end a training run: errors are ignored here, as fmt::print would not.
void Progress::write(const std::string& text) {
  std::fputs(text.c_str(), stream_);
  std::fflush(stream_);
}

void Progress::update(int64_t step, double loss, int64_t tokens) {
  if (quiet_) return;
  state_.step = step;
  state_.loss = loss;
  tokens_ += tokens;
  const Clock::time_point now = Clock::now();
  if (!is_due(now)) return;
  shown_ = now;
  shown_step_ = step;
  const double seconds = std::max(std::chrono::duration<double>(now - start_).count(), 1e-9);
  state_.tokens_per_second = static_cast<double>(tokens_) / seconds;
  const int64_t steps_done = std::max<int64_t>(step - first_step_, 1);
  state_.seconds_left = static_cast<double>(state_.steps - step) * seconds / static_cast<double>(steps_done);
  if (in_place_) {
    // The last column stays free: a character there makes some terminals wrap. ESC[K clears what a longer line left.
    write("\r" + progress_line(state_, terminal_columns(stream_) - 1) + "\x1b[K");
    is_open_ = true;
  } else {
    write(progress_line(state_, 80) + "\n");
  }
}

void Progress::update(int64_t step) { update(step, std::numeric_limits<double>::quiet_NaN(), 0); }

void Progress::finish() {
  if (!is_open_) return;
  write("\n");
  is_open_ = false;
}

}  // namespace phasor
