// Dtype: what an element is. Device: where the bytes live.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>

#include "core/bf16.hpp"

namespace phasor {

// bf16 is storage for the GPU: kernels there compute in f32. On the CPU it is only converted and moved.
enum class Dtype { f32, f64, bf16, i32, i64, boolean };
enum class Device { cpu, cuda };

// Whether this build has kernels for a GPU. Read by core alone: it is built once with and once without; everything above
// asks has_device().
#ifdef PHASOR_CUDA
constexpr bool kHasCuda = true;
#else
constexpr bool kHasCuda = false;
#endif

size_t bytes_per_element(Dtype dtype);
constexpr bool is_float(Dtype dtype) { return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16; }

std::ostream& operator<<(std::ostream& out, Dtype dtype);    // f32
std::ostream& operator<<(std::ostream& out, Device device);  // cpu

template <class T>
constexpr Dtype dtype_of = Dtype::boolean;
template <>
constexpr Dtype dtype_of<float> = Dtype::f32;
template <>
constexpr Dtype dtype_of<double> = Dtype::f64;
template <>
constexpr Dtype dtype_of<bf16> = Dtype::bf16;
template <>
constexpr Dtype dtype_of<int32_t> = Dtype::i32;
template <>
constexpr Dtype dtype_of<int64_t> = Dtype::i64;

}  // namespace phasor
