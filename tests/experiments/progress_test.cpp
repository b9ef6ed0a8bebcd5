// The progress line fits its terminal, is sparse elsewhere, and is silent when asked.
#include "experiments/progress.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

using namespace phasor;

namespace {

const ProgressState state = {.label = "rope seed 1",
                             .step = 45,
                             .steps = 900,
                             .loss = 1.53124,
                             .tokens_per_second = 104700,
                             .seconds_left = 3725.2};

std::string written(FILE* stream) {
  std::string text(static_cast<size_t>(std::ftell(stream)), '\0');
  std::rewind(stream);
  text.resize(std::fread(text.data(), 1, text.size(), stream));
  return text;
}

// What a run of `steps` steps of a millisecond each writes to a terminal that is `columns` wide.
std::string on_terminal(unsigned short columns, int64_t steps) {
  int leader = -1, follower = -1;
  const winsize size = {.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  REQUIRE(openpty(&leader, &follower, nullptr, nullptr, &size) == 0);
  FILE* const stream = fdopen(follower, "w");
  Progress progress("rope seed 1", steps, false, 0, stream);
  for (int64_t step = 1; step <= steps; ++step) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    progress.update(step, 2.5, 100);
  }
  progress.finish();
  // What was written arrives in pieces; it is whole when nothing more comes.
  std::string text;
  pollfd ready = {.fd = leader, .events = POLLIN, .revents = 0};
  while (poll(&ready, 1, 200) > 0) {
    char piece[4096];
    const ssize_t n = read(leader, piece, sizeof piece);
    REQUIRE(n > 0);
    text.append(piece, static_cast<size_t>(n));
  }
  std::fclose(stream);
  close(leader);
  return text;
}

}  // namespace

TEST_CASE("progress: the line drops what matters least until it fits") {
  CHECK(progress_line(state, 80) == "rope seed 1   45/900  loss 1.5312  105k tokens/s  ETA 1:02:05");
  CHECK(progress_line(state, 61) == "rope seed 1   45/900  loss 1.5312  105k tokens/s  ETA 1:02:05");
  CHECK(progress_line(state, 60) == " 45/900  loss 1.5312  105k tokens/s  ETA 1:02:05");
  CHECK(progress_line(state, 40) == " 45/900  loss 1.5312  ETA 1:02:05");
  CHECK(progress_line(state, 20) == " 45/900  ETA 1:02:05");
  CHECK(progress_line(state, 19) == " 45/900");
  CHECK(progress_line(state, 3) == " 45");
  for (int columns = 0; columns < 100; ++columns)
    CHECK(progress_line(state, columns).size() <= static_cast<size_t>(std::max(columns, 1)));
}

TEST_CASE("progress: numbers of any size") {
  ProgressState other = state;
  other.seconds_left = 59.6;
  other.tokens_per_second = 9999;
  CHECK(progress_line(other, 80) == "rope seed 1   45/900  loss 1.5312  9999 tokens/s  ETA 1:00");
  other.tokens_per_second = 25e6;
  other.seconds_left = 1e300;
  CHECK(progress_line(other, 80).find("25M tokens/s  ETA 277777:46:40") != std::string::npos);
  other.label = "";
  CHECK(progress_line(other, 80).starts_with(" 45/900"));
}

TEST_CASE("progress: without a terminal a fast run writes its last line only, and a quiet one nothing") {
  for (const bool quiet : {false, true}) {
    FILE* const stream = std::tmpfile();
    Progress progress("hope", 1000, quiet, 0, stream);
    for (int64_t step = 1; step <= 1000; ++step) progress.update(step, 1.0, 10);
    progress.finish();
    const std::string text = written(stream);
    std::fclose(stream);
    if (quiet) {
      CHECK(text == "");
    } else {
      CHECK(text.starts_with("hope  1000/1000  loss 1.0000  "));
      CHECK(text.find('\n') == text.size() - 1);
      CHECK(text.find('\r') == std::string::npos);
    }
  }
}

TEST_CASE("progress: on a terminal the line is rewritten in place and stays inside 20 columns") {
  setenv("TERM", "xterm", 1);
  const std::string text = on_terminal(20, 250);
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK(text.back() == '\n');
  size_t rewrites = 0;
  for (size_t start = text.find('\r'); start != std::string::npos && text[start + 1] != '\n';
       start = text.find('\r', start + 1)) {
    const size_t stop = text.find("\x1b[K", start);
    REQUIRE(stop != std::string::npos);
    CHECK(stop - start - 1 <= 19);
    ++rewrites;
  }
  // A run of a quarter of a second, or more on a busy machine, at ten times a second.
  CHECK(rewrites >= 2);
  CHECK(text.find("250/250") != std::string::npos);
}

TEST_CASE("progress: a dumb terminal gets plain lines") {
  setenv("TERM", "dumb", 1);
  const std::string text = on_terminal(80, 20);
  setenv("TERM", "xterm", 1);
  CHECK(text.starts_with("rope seed 1  20/20  loss 2.5000"));
  CHECK(text.find('\x1b') == std::string::npos);
}
