// What the tests of the emulator share: blocks of device memory, defaults, and children that may crash.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/cuda/faults.hpp"

namespace phasor::planted {

// Every test leaves the emulator as it found it.
struct Defaults {
  ~Defaults() {
    emulator::set_order(emulator::Order::ascending);
    emulator::set_device_count(1);
    emulator::set_driver_version(12040);
    emulator::set_total_memory(size_t{16} << 30);
  }
};

struct Block {
  int* data = nullptr;
  size_t count;

  explicit Block(size_t count_) : count(count_) { REQUIRE(cudaMalloc(&data, count * sizeof(int)) == cudaSuccess); }
  explicit Block(const std::vector<int>& values) : Block(values.size()) {
    REQUIRE(cudaMemcpy(data, values.data(), count * sizeof(int), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { (void)cudaFree(data); }
  std::vector<int> values() const {
    std::vector<int> result(count);
    REQUIRE(cudaMemcpy(result.data(), data, count * sizeof(int), cudaMemcpyDeviceToHost) == cudaSuccess);
    return result;
  }
};

inline std::vector<int> some_numbers(size_t count = numbers) {
  std::vector<int> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = static_cast<int>(i * 2654435761u >> 8 & 0xffff) + 1;
  return x;
}

// Whether a child that does this crashes or is stopped by a sanitizer, and what it says.
struct End {
  bool is_good = false;
  std::string words;
};
template <class F>
End end_of_child(F f) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    std::signal(SIGSEGV, SIG_DFL);  // the test program's own handler would report a failed test
    f();
    _exit(0);
  }
  close(ends[1]);
  End end;
  char buffer[4096];
  for (ssize_t count; (count = read(ends[0], buffer, sizeof buffer)) > 0;)
    end.words.append(buffer, static_cast<size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  end.is_good = status == 0;
  return end;
}
template <class F>
bool dies(F f) {
  return !end_of_child(f).is_good;
}

}  // namespace phasor::planted
