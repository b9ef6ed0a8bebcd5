// All parallelism of the library: oneTBB behind two functions.
//
// The tiles depend on `count` and `grain` alone, never on the number of threads, so a body that writes only its own
// tile gives the same bits for any thread count. Sums over tiles go through partial results added in tile order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace phasor {

// A reference to a callable; unlike std::function it never allocates. The callable must outlive the call it is passed
// to.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// body(begin, end) for the tiles [0, grain), [grain, 2 grain), ... of [0, count). One tile runs on the calling thread.
void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

// How many threads may take part in a parallel_for that starts here, and inside a body which of them, from 0, runs it.
int64_t thread_slots();
int64_t thread_slot();

// Runs f with `threads` threads (at least 1), also more than the machine has cores.
void with_threads(int threads, FunctionRef<void()> f);

// Elements per tile of a loop that does about `work` floating point operations an element: enough to pay for a task.
constexpr int64_t grain_for(int64_t work) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(work, 1)); }

}  // namespace phasor
