// Small kernels, each in a right version and in one with a single mistake that the emulator must find.
#pragma once

#include <span>
#include <vector>

#include "tests/cuda/emulator/emulator.hpp"

namespace phasor::planted {

constexpr int threads = 64, blocks = 3, numbers = threads * blocks;  // of every kernel's input and output

enum class Version { right, wrong };
enum class Found {
  by_fault,    // in every order, in every build
  by_tracker,  // in every order, where the tracker is; elsewhere some order gives a wrong result
  only_by_tracker,
  by_result,  // differs from the reference
};

struct Kernel {
  const char* name;
  Found found;
  std::vector<emulator::FaultKind> kinds;  // what it may be called, depending on the order
  const char* message;                     // what must be said
  void (*run)(Version, int* y, const int* x);
  int (*reference)(const int* x, int i);
};
std::span<const Kernel> kernels();
// The parts of kernels():
std::span<const Kernel> meeting_kernels();  // threads that miss each other, races
std::span<const Kernel> matrix_kernels();   // fragments, asynchronous copies
std::span<const Kernel> work_kernels();     // wrong numbers, too little memory

// Beyond what memory they have, or at an address that is no multiple of 16: for the sanitizers.
enum class Outside { global, static_shared, dynamic_shared, row_of_a_tile, misaligned };
void step_outside(Outside, int* y, const int* x);

// For bodies of tests: what a thread of a kernel does.
void meet_apart();                   // half of the threads at one barrier, half at another
void fill_place(int* y, int first);  // y[place of the thread in the grid] = place + first

// y = x + 1, for any number of elements.
void add_one(int* y, const int* x, int count);

}  // namespace phasor::planted
