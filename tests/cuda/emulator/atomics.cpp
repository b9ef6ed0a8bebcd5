// Atomics, on integers only: the order in which floats add up would be left to chance. They are plain loads and stores,
// since no thread is interrupted, and stand here out of the tracker's sight, which hears of each by note_atomic.
#include <algorithm>
#include <cmath>

#include "tests/cuda/emulator/device.hpp"

namespace {

template <class T, class F>
T changed(T* at, F change) {
  phasor::emulator::note_atomic(at, sizeof(T), __builtin_return_address(0));
  const T before = *at;
  *at = change(before);
  return before;
}

// Sums wrap around.
template <class T>
T sum(T a, T b) {
  using Unsigned = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
}

}  // namespace

#define PHASOR_EMULATED_ATOMICS(T)                                        \
  T atomicAdd(T* at, T x) {                                               \
    return changed(at, [x](T old) { return sum(old, x); });               \
  }                                                                       \
  T atomicMax(T* at, T x) {                                               \
    return changed(at, [x](T old) { return std::max(old, x); });          \
  }                                                                       \
  T atomicMin(T* at, T x) {                                               \
    return changed(at, [x](T old) { return std::min(old, x); });          \
  }                                                                       \
  T atomicExch(T* at, T x) {                                              \
    return changed(at, [x](T) { return x; });                             \
  }                                                                       \
  T atomicCAS(T* at, T expected, T x) {                                   \
    return changed(at, [=](T old) { return old == expected ? x : old; }); \
  }                                                                       \
  T atomicOr(T* at, T x) {                                                \
    return changed(at, [x](T old) { return old | x; });                   \
  }                                                                       \
  T atomicAnd(T* at, T x) {                                               \
    return changed(at, [x](T old) { return old & x; });                   \
  }                                                                       \
  T atomicXor(T* at, T x) {                                               \
    return changed(at, [x](T old) { return old ^ x; });                   \
  }
PHASOR_EMULATED_ATOMICS(int)
PHASOR_EMULATED_ATOMICS(unsigned)
PHASOR_EMULATED_ATOMICS(unsigned long long)
#undef PHASOR_EMULATED_ATOMICS

int atomicSub(int* at, int x) {
  return changed(at, [x](int old) { return sum(old, sum(~x, 1)); });
}
unsigned atomicSub(unsigned* at, unsigned x) {
  return changed(at, [x](unsigned old) { return old - x; });
}
unsigned atomicInc(unsigned* at, unsigned limit) {
  return changed(at, [limit](unsigned old) { return old >= limit ? 0 : old + 1; });
}
unsigned atomicDec(unsigned* at, unsigned limit) {
  return changed(at, [limit](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

extern "C" float __expf(float x) noexcept { return std::exp(x); }
extern "C" float __logf(float x) noexcept { return std::log(x); }
