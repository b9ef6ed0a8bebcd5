// What CUDA gives to code on the GPU: indices, barriers, shuffles, votes, atomics, and functions that C++ does not
// know.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tests/cuda/emulator/meeting.hpp"
#include "tests/cuda/emulator/vector_types.hpp"

// Constant for a thread, so that nobody need look twice: the emulator, which writes them, knows them as variables.
extern const uint3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace phasor::emulator {
using Where = std::source_location;

// What the lane gets for its value. Its own stack need not be looked at by the tracker.
__attribute__((noinline, no_sanitize("thread"))) inline uint64_t met(Meeting kind, unsigned mask, uint64_t value,
                                                                     int argument, int width, const Where& where) {
  Arrival arrival{.mask = mask, .kind = kind, .where = where, .value = value, .argument = argument, .width = width};
  meet(arrival);
  return arrival.value;
}
template <class T>
T shuffled(Meeting kind, unsigned mask, T value, int argument, int width, const Where& where) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  return std::bit_cast<T>(static_cast<Bits>(met(kind, mask, std::bit_cast<Bits>(value), argument, width, where)));
}
inline unsigned voted(Meeting kind, unsigned mask, int predicate, const Where& where) {
  return static_cast<unsigned>(met(kind, mask, predicate != 0, 0, 32, where));
}
}  // namespace phasor::emulator

// Barriers. Every thread of the block must come to the same line.
inline void __syncthreads(phasor::emulator::Where where = phasor::emulator::Where::current()) {
  phasor::emulator::barrier(phasor::emulator::Vote::none, false, where);
}
inline int __syncthreads_or(int predicate, phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::barrier(phasor::emulator::Vote::any, predicate != 0, where);
}
inline int __syncthreads_and(int predicate, phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::barrier(phasor::emulator::Vote::all, predicate != 0, where);
}
inline int __syncthreads_count(int predicate, phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::barrier(phasor::emulator::Vote::count, predicate != 0, where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       phasor::emulator::Where where = phasor::emulator::Where::current()) {
  phasor::emulator::met(phasor::emulator::Meeting::syncwarp, mask, 0, 0, 32, where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::shuffled(phasor::emulator::Meeting::shuffle, mask, value, lane, width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::shuffled(phasor::emulator::Meeting::shuffle_xor, mask, value, lanes, width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                   phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::shuffled(phasor::emulator::Meeting::shuffle_down, mask, value, static_cast<int>(distance),
                                    width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                 phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::shuffled(phasor::emulator::Meeting::shuffle_up, mask, value, static_cast<int>(distance),
                                    width, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return phasor::emulator::voted(phasor::emulator::Meeting::ballot, mask, predicate, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return static_cast<int>(phasor::emulator::voted(phasor::emulator::Meeting::any, mask, predicate, where));
}
inline int __all_sync(unsigned mask, int predicate,
                      phasor::emulator::Where where = phasor::emulator::Where::current()) {
  return static_cast<int>(phasor::emulator::voted(phasor::emulator::Meeting::all, mask, predicate, where));
}
inline unsigned __activemask() { return phasor::emulator::live_lanes(); }

// Atomics, on integers only: defined in atomics.cpp, which says why.
#define PHASOR_EMULATED_ATOMICS(T)      \
  T atomicAdd(T*, T);                   \
  T atomicMax(T*, T);                   \
  T atomicMin(T*, T);                   \
  T atomicExch(T*, T);                  \
  T atomicCAS(T*, T expected, T value); \
  T atomicOr(T*, T);                    \
  T atomicAnd(T*, T);                   \
  T atomicXor(T*, T);
PHASOR_EMULATED_ATOMICS(int)
PHASOR_EMULATED_ATOMICS(unsigned)
PHASOR_EMULATED_ATOMICS(unsigned long long)
#undef PHASOR_EMULATED_ATOMICS
int atomicSub(int*, int);
unsigned atomicSub(unsigned*, unsigned);
unsigned atomicInc(unsigned*, unsigned limit);
unsigned atomicDec(unsigned*, unsigned limit);

// glibc declares these two and leaves them out of the library.
extern "C" float __expf(float) noexcept;
extern "C" float __logf(float) noexcept;
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __dadd_rn(double x, double y) { return x + y; }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int bit = 0; bit < 32; ++bit) y |= (x >> bit & 1u) << (31 - bit);
  return y;
}
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
inline int __mulhi(int x, int y) { return static_cast<int>(int64_t{x} * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
template <class T>
T __ldg(const T* at) {
  return *at;
}

// CUDA has these without std::, for mixed types too.
#define PHASOR_EMULATED_MIN_MAX(Result, A, B)                                                                 \
  inline Result min(A a, B b) {                                                                               \
    return static_cast<Result>(b) < static_cast<Result>(a) ? static_cast<Result>(b) : static_cast<Result>(a); \
  }                                                                                                           \
  inline Result max(A a, B b) {                                                                               \
    return static_cast<Result>(a) < static_cast<Result>(b) ? static_cast<Result>(b) : static_cast<Result>(a); \
  }
PHASOR_EMULATED_MIN_MAX(int, int, int)
PHASOR_EMULATED_MIN_MAX(unsigned, unsigned, unsigned)
PHASOR_EMULATED_MIN_MAX(unsigned, int, unsigned)
PHASOR_EMULATED_MIN_MAX(unsigned, unsigned, int)
PHASOR_EMULATED_MIN_MAX(long, long, long)
PHASOR_EMULATED_MIN_MAX(unsigned long, unsigned long, unsigned long)
PHASOR_EMULATED_MIN_MAX(unsigned long, long, unsigned long)
PHASOR_EMULATED_MIN_MAX(unsigned long, unsigned long, long)
PHASOR_EMULATED_MIN_MAX(long long, long long, long long)
PHASOR_EMULATED_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef PHASOR_EMULATED_MIN_MAX
// Like fmin and fmax: of a number and a NaN the number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }
