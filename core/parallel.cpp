// The only file that calls oneTBB.
#include "core/parallel.hpp"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#if defined(PHASOR_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

#include "core/error.hpp"

namespace phasor {
namespace {

// oneTBB's library is not instrumented, so the thread sanitizer does not see it hand work over. These say it: what was
// written before a loop is there for every tile, and what the tiles wrote is there after the loop. Tiles stay unordered
// among themselves: a race between two of them is seen. In other builds they are nothing.
#if defined(PHASOR_THREAD_SANITIZER)
void release(char& place) { __tsan_release(&place); }
void acquire(char& place) { __tsan_acquire(&place); }
#else
void release(char&) {}
void acquire(char&) {}
#endif

struct Handover {
  char fork = 0, join = 0;
  Handover() { release(fork); }
  ~Handover() { acquire(join); }
};

struct TileScope {
  Handover& handover;
  explicit TileScope(Handover& of) : handover(of) { acquire(handover.fork); }
  ~TileScope() { release(handover.join); }
};

}  // namespace

void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  const int64_t tiles = (count + grain - 1) / grain;
  if (tiles == 1) return body(0, count);
  Handover handover;
  // Several tiles may share a task, but the body always sees one tile at a time.
  tbb::parallel_for(tbb::blocked_range<int64_t>(0, tiles), [&](const tbb::blocked_range<int64_t>& range) {
    for (int64_t tile = range.begin(); tile < range.end(); ++tile) {
      const TileScope scope(handover);
      body(tile * grain, std::min((tile + 1) * grain, count));
    }
  });
}

int64_t thread_slots() { return tbb::this_task_arena::max_concurrency(); }

// A thread that no loop has reached yet has no index; it runs the only tile of a loop.
int64_t thread_slot() { return std::max(0, tbb::this_task_arena::current_thread_index()); }

void with_threads(int threads, FunctionRef<void()> f) {
  require<ValueError>(threads >= 1, "with_threads", "needs at least 1 thread, got ", threads);
  // The arena sets how many threads may join; the global limit must allow as many workers to exist.
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads));
  tbb::task_arena arena(threads);
  arena.execute([&] { f(); });
}

}  // namespace phasor
