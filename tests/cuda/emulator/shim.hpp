// Stands in front of every .cu file that the tests compile with g++ (-include): CUDA's language on the CPU.
//
// Threads of a block are fibers on one thread of the host, and blocks run one after another: so shared memory is a
// static variable, and threadIdx and the like are variables that the emulator writes before a thread goes on.
#pragma once

#define PHASOR_EMULATED

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static

#ifdef __SANITIZE_THREAD__
// Copies by memcpy and the like are seen by the tracker too, also those that the compiler writes.
extern "C" void* memcpy(void*, const void*, decltype(sizeof(0))) noexcept __asm__("phasor_tracked_memcpy");
extern "C" void* memmove(void*, const void*, decltype(sizeof(0))) noexcept __asm__("phasor_tracked_memmove");
extern "C" void* memset(void*, int, decltype(sizeof(0))) noexcept __asm__("phasor_tracked_memset");
#endif

#include "tests/cuda/emulator/cublaslt.hpp"
#include "tests/cuda/emulator/device.hpp"
#include "tests/cuda/emulator/emulator.hpp"
#include "tests/cuda/emulator/instructions.hpp"
