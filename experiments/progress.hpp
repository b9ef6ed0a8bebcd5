// The progress line of a training run, on stderr: rewritten in place on a terminal, a few plain lines otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace phasor {

// 0:07, 12:30 or 1:02:11.
std::string duration_text(double seconds);

// What the line tells.
struct ProgressState {
  std::string label;
  int64_t step = 0, steps = 0;   // done, in all
  double loss = 0;               // NaN: not a training
  double tokens_per_second = 0;  // 0: nothing is read
  double seconds_left = 0;
};

// Fits into `columns`: what matters least is left out first (label, rate, loss, time left), the count is cut last.
std::string progress_line(const ProgressState& state, int columns);

class Progress {
 public:
  // A run of `steps` steps, the first `first_step` of which are done already.
  Progress(std::string label, int64_t steps, bool quiet, int64_t first_step = 0, FILE* stream = stderr);

  // After every step; `tokens` are those of this step.
  void update(int64_t step, double loss, int64_t tokens);
  void update(int64_t step);  // where there is no loss, and no tokens are counted
  void finish();              // ends a line that stands open; update() may follow

 private:
  using Clock = std::chrono::steady_clock;  // never jumps

  bool is_due(Clock::time_point now) const;
  void write(const std::string& text);

  ProgressState state_;
  FILE* stream_;
  bool in_place_ = false, is_open_ = false, quiet_;
  int64_t first_step_, tokens_ = 0;
  int64_t shown_step_;
  Clock::time_point start_, shown_;
};

}  // namespace phasor
