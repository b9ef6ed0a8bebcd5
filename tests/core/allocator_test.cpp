// The caching allocator: what it counts, what it reuses, what it refuses.
#include "core/allocator.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "core/error.hpp"

using namespace phasor;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool caches = false;  // the sanitizer build gives every block back, to see uses after free
#else
constexpr bool caches = true;
#endif

}  // namespace

TEST_CASE("allocator: counts bytes in use and the peak") {
  const int64_t before = memory_counts().bytes_in_use;
  reset_peak_memory();
  CHECK(memory_counts().peak_bytes == before);
  auto a = allocate(1 << 20);
  const auto b = allocate(1 << 20);
  CHECK(memory_counts().bytes_in_use == before + (2 << 20));
  a.reset();
  CHECK(memory_counts().bytes_in_use == before + (1 << 20));
  CHECK(memory_counts().peak_bytes == before + (2 << 20));
  reset_peak_memory();
  CHECK(memory_counts().peak_bytes == before + (1 << 20));
}

TEST_CASE("allocator: a loop that repeats asks the system for nothing") {
  if (!caches) return;
  const auto step = [] {
    const auto a = allocate(1'000'000), b = allocate(70'000);
    const auto c = allocate(1'000'000);
  };
  step();
  const MemoryCounts before = memory_counts();
  for (int i = 0; i < 10; ++i) step();
  CHECK(memory_counts().system_allocations == before.system_allocations);
  CHECK(memory_counts().reused_blocks == before.reused_blocks + 30);
  CHECK(memory_counts().bytes_in_use == before.bytes_in_use);
}

TEST_CASE("allocator: nearly equal sizes share a block, at most a quarter is wasted") {
  if (!caches) return;
  for (const size_t bytes : {1, 256, 257, 1000, 5000, 65537, 1'000'001}) {
    CAPTURE(bytes);
    const int64_t before = memory_counts().bytes_in_use;
    const auto block = allocate(bytes);
    const int64_t taken = memory_counts().bytes_in_use - before;
    CHECK(taken >= static_cast<int64_t>(bytes));
    CHECK(taken <= std::max<int64_t>(256, static_cast<int64_t>(bytes) * 5 / 4));
  }
  const std::byte* const first = allocate(1'000'000).get();
  CHECK(allocate(990'000).get() == first);
}

TEST_CASE("allocator: cached memory can be given back") {
  allocate(3 << 20).reset();
  release_cached_memory();
  CHECK(memory_counts().bytes_cached == 0);
  const int64_t before = memory_counts().system_allocations;
  allocate(3 << 20);
  CHECK(memory_counts().system_allocations == before + 1);
}

TEST_CASE("allocator: aligned blocks; nothing for zero bytes") {
  CHECK(allocate(0) == nullptr);
  for (const size_t bytes : {1, 100, 4097, 1 << 22}) {
    const auto block = allocate(bytes);
    CHECK(reinterpret_cast<uintptr_t>(block.get()) % 64 == 0);
    std::memset(block.get(), 1, bytes);
  }
}

TEST_CASE("allocator: refuses what no machine has, and says how much that was") {
  CHECK_THROWS_WITH_AS(allocate(size_t{1} << 62), doctest::Contains("4611686018427387904"), ResourceError);
  CHECK_THROWS_AS(allocate(SIZE_MAX), ResourceError);
}

TEST_CASE("allocator: blocks of several threads do not overlap and all come back") {
  const int64_t before = memory_counts().bytes_in_use;
  std::vector<std::thread> threads;
  std::vector<char> intact(4, 1);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &intact] {
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = 64 + static_cast<size_t>(i * 37 % 3000);
        const auto block = allocate(bytes);
        std::memset(block.get(), t, bytes);
        for (size_t k = 0; k < bytes; ++k) intact[t] &= block.get()[k] == static_cast<std::byte>(t);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(intact == std::vector<char>(4, 1));
  CHECK(memory_counts().bytes_in_use == before);
}

TEST_CASE("allocator: large blocks are counted as they are, whole, writable to the end, and go back to the system") {
  if (!caches) return;
  release_cached_memory();
  const auto virtual_pages = [] {
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
  };
  const long page = sysconf(_SC_PAGESIZE), before = virtual_pages();
  const int64_t in_use = memory_counts().bytes_in_use;
  {
    std::vector<std::shared_ptr<std::byte>> blocks;
    for (const size_t bytes : {size_t{4} << 20, (size_t{4} << 20) + 100000, (size_t{6} << 20) + 1, size_t{9} << 20}) {
      blocks.push_back(allocate(bytes));
      CHECK(reinterpret_cast<uintptr_t>(blocks.back().get()) % (2 << 20) == 0);
      std::memset(blocks.back().get(), 1, bytes);
    }
    const int64_t counted = memory_counts().bytes_in_use - in_use;
    CHECK(counted >= (int64_t{23} << 20));
    CHECK((virtual_pages() - before) * page <= counted + (1 << 20));
  }
  release_cached_memory();
  CHECK((virtual_pages() - before) * page <= 1 << 20);
}
