// Tiles: every element once, the same cuts for any number of threads.
#include "core/parallel.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.hpp"
#include "core/loops.hpp"
#include "core/scratch.hpp"

using namespace phasor;

namespace {

std::set<std::pair<int64_t, int64_t>> tiles_of(int64_t count, int64_t grain) {
  std::set<std::pair<int64_t, int64_t>> tiles;
  std::mutex mutex;
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    CHECK(tiles.emplace(begin, end).second);
  });
  return tiles;
}

}  // namespace

TEST_CASE("parallel_for: the tiles depend on count and grain alone") {
  for (const auto& [count, grain] : {std::pair<int64_t, int64_t>{1, 1}, {10, 3}, {9, 3}, {1000, 7}, {5, 100}}) {
    std::set<std::pair<int64_t, int64_t>> expected;
    for (int64_t begin = 0; begin < count; begin += grain) expected.emplace(begin, std::min(begin + grain, count));
    for (const int threads : {1, 2, 8}) {
      CAPTURE(count);
      CAPTURE(threads);
      with_threads(threads, [&] { CHECK(tiles_of(count, grain) == expected); });
    }
  }
  CHECK(tiles_of(0, 4).empty());
  CHECK(tiles_of(-3, 4).empty());
}

TEST_CASE("parallel_for: one tile runs on the calling thread") {
  std::thread::id ran_on;
  parallel_for(100, 100, [&](int64_t, int64_t) { ran_on = std::this_thread::get_id(); });
  CHECK(ran_on == std::this_thread::get_id());
}

TEST_CASE("with_threads: as many threads as asked for, also beyond the cores") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    std::set<std::thread::id> seen;
    std::mutex mutex;
    with_threads(threads, [&] {
      // Each tile waits for the others, so that no thread can run all of them; not for ever, should some never come.
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(5);
      parallel_for(64, 1, [&](int64_t, int64_t) {
        for (bool waiting = true; waiting && std::chrono::steady_clock::now() < give_up;) {
          {
            const std::lock_guard lock(mutex);
            seen.insert(std::this_thread::get_id());
            waiting = static_cast<int>(seen.size()) < threads;
          }
          std::this_thread::yield();
        }
      });
    });
    CHECK(static_cast<int>(seen.size()) == threads);
  }
  CHECK_THROWS_AS(with_threads(0, [] {}), ValueError);
}

TEST_CASE("parallel_for: an exception of a tile reaches the caller") {
  CHECK_THROWS_AS(parallel_for(100, 1,
                               [](int64_t begin, int64_t) {
                                 if (begin == 57) throw std::runtime_error("tile");
                               }),
                  std::runtime_error);
}

TEST_CASE("StridedLoop: every element once, for any strides, in pieces of any grain") {
  // Offsets of a permuted, gapped operand next to a contiguous one and a broadcast one.
  const Shape shape{3, 4, 5};
  const Strides contiguous = contiguous_strides(shape), permuted = {2, 70, 9}, broadcast = {0, 1, 0};
  const StridedLoop<3> loop(shape, {contiguous, permuted, broadcast});
  for (const int64_t grain : {1, 3, 5, 7, 1000}) {
    CAPTURE(grain);
    std::vector<int> visits(60);
    bool offsets_right = true;
    std::mutex mutex;
    loop.run(grain, [&](const std::array<int64_t, 3>& at, int64_t count) {
      const std::lock_guard lock(mutex);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t flat = at[0] + i * loop.step(0);
        const int64_t index[3] = {flat / 20, flat / 5 % 4, flat % 5};
        ++visits[static_cast<size_t>(flat)];
        offsets_right = offsets_right && at[1] + i * loop.step(1) == index[0] * 2 + index[1] * 70 + index[2] * 9 &&
                        at[2] + i * loop.step(2) == index[1];
      }
    });
    CHECK(visits == std::vector<int>(60, 1));
    CHECK(offsets_right);
  }
}

TEST_CASE("StridedLoop: axes that continue each other merge into long rows") {
  const StridedLoop<2> dense({4, 5, 6}, {contiguous_strides({4, 5, 6}), contiguous_strides({4, 5, 6})});
  CHECK(dense.row() == 120);
  CHECK(dense.rows() == 1);
  const StridedLoop<2> half({4, 5, 6}, {contiguous_strides({4, 5, 6}), Strides{100, 6, 1}});
  CHECK(half.row() == 30);
  CHECK(half.rows() == 4);
  const StridedLoop<1> nothing({4, 0}, {contiguous_strides({4, 0})});
  bool ran = false;
  nothing.run(1, [&](const std::array<int64_t, 1>&, int64_t) { ran = true; });
  CHECK_FALSE(ran);
}

TEST_CASE("scratch: every thread has its own piece, and as much is asked for whatever runs at once") {
  for (const int threads : {1, 3, 8})
    with_threads(threads, [&] {
      const int64_t before = memory_counts().bytes_in_use;
      const Scratch<float> scratch(1000);
      CHECK(memory_counts().bytes_in_use - before >= threads * 4000);
      std::atomic<int> spoilt = 0;
      parallel_for(400, 1, [&](int64_t task, int64_t) {
        float* const own = scratch.mine();
        CHECK(reinterpret_cast<uintptr_t>(own) % 64 == 0);
        std::fill_n(own, 1000, static_cast<float>(task));
        std::this_thread::yield();
        for (int i = 0; i < 1000; ++i) spoilt += own[i] != static_cast<float>(task);
      });
      CHECK(spoilt == 0);
      parallel_for(1, 1, [&](int64_t, int64_t) { CHECK(scratch.mine() != nullptr); });
    });
}
