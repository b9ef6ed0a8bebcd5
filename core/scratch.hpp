// Memory for the bodies of one parallel_for: a piece for each thread that may take part. How much is asked for then
// does not depend on which of them happen to run at once, so that a step that repeats asks the system for nothing.
#pragma once

#include "core/allocator.hpp"
#include "core/parallel.hpp"

namespace phasor {

template <class T>
class Scratch {
 public:
  // `elements` for each thread, on cache lines of its own; uninitialised.
  explicit Scratch(int64_t elements)
      : step_((elements + line - 1) / line * line),
        memory_(allocate(static_cast<size_t>(thread_slots() * step_) * sizeof(T))) {}

  // For the body that runs on this thread, until it returns.
  T* mine() const { return reinterpret_cast<T*>(memory_.get()) + thread_slot() * step_; }

 private:
  static constexpr int64_t line = 64 / sizeof(T);
  int64_t step_;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace phasor
