// The instructions of cuda/instructions.cuh, modelled on the CPU. What they do and which lane holds what stands there.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/cuda/emulator/meeting.hpp"

namespace phasor::emulator {
// `to`: one 32-bit register for each of the `matrices`; rows lie at multiples of 16 bytes.
void load_matrix(uint32_t* to, int matrices, const void* row, bool is_transposed, const std::source_location& where);
void multiply_bf16(float* d, const uint32_t* a, const uint32_t* b, const std::source_location& where);
uint16_t rounded_bf16(float x);
}  // namespace phasor::emulator

namespace phasor::cuda {

inline void load_matrix_x4(uint32_t (&r)[4], const void* row,
                           std::source_location where = std::source_location::current()) {
  emulator::load_matrix(r, 4, row, false, where);
}
inline void load_matrix_x2(uint32_t (&r)[2], const void* row,
                           std::source_location where = std::source_location::current()) {
  emulator::load_matrix(r, 2, row, false, where);
}
inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row,
                                      std::source_location where = std::source_location::current()) {
  emulator::load_matrix(r, 4, row, true, where);
}
inline void load_matrix_x2_transposed(uint32_t (&r)[2], const void* row,
                                      std::source_location where = std::source_location::current()) {
  emulator::load_matrix(r, 2, row, true, where);
}
inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          std::source_location where = std::source_location::current()) {
  emulator::multiply_bf16(d, a, b, where);
}

inline void copy_async_16(void* shared, const void* global, bool is_valid,
                          std::source_location where = std::source_location::current()) {
  emulator::start_copy(shared, global, is_valid, where);
}
inline void commit_copies() { emulator::commit_copies(); }
template <int pending_groups>
void wait_copies() {
  emulator::wait_copies(pending_groups);
}

inline float exp2_approximate(float x) {
  constexpr float smallest = 1.17549435e-38f;  // below it numbers are flushed to 0
  const float y = exp2f(std::fabs(x) < smallest ? 0.0f : x);
  return y < smallest ? 0.0f : y;
}
inline uint32_t pack_bf16(float low, float high) {
  return static_cast<uint32_t>(emulator::rounded_bf16(high)) << 16 | emulator::rounded_bf16(low);
}
inline float low_bf16(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
inline float high_bf16(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

}  // namespace phasor::cuda
