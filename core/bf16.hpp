// bf16: the upper half of an f32 as storage, with conversions that round to the nearest (ties to even). On host and
// GPU.
#pragma once

#include <bit>
#include <cstdint>

#include "core/host_device.hpp"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

namespace phasor {

struct bf16 {
  uint16_t bits;

  bf16() = default;
  PHASOR_HOST_DEVICE explicit bf16(float value) {
#ifdef __CUDA_ARCH__
    bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));  // one instruction; the same but for the bits of a NaN
#else
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    // A NaN stays one: rounding up its mantissa could carry into the sign.
    bits = static_cast<uint16_t>(is_nan ? (word >> 16 | 0x40u) : (word + 0x7fffu + (word >> 16 & 1u)) >> 16);
#endif
  }
  // Other numbers go through f32, as they do on the GPU.
  template <class T>
  PHASOR_HOST_DEVICE explicit bf16(T value) : bf16(static_cast<float>(value)) {}

  PHASOR_HOST_DEVICE explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  template <class T>
  PHASOR_HOST_DEVICE explicit operator T() const {
    return static_cast<T>(static_cast<float>(*this));
  }
};

}  // namespace phasor
