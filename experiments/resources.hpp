// What the machine has for a command: threads, memory, addresses.
#pragma once

#include "core/dtype.hpp"

namespace phasor {

// As many as asked for; 0 asks for as many as there are cores.
int thread_count(int asked);

// Memory that can be had without swapping; of the GPU, what is free there. Infinity where the system does not tell.
double available_bytes(Device device = Device::cpu);

// ResourceError if the shell's limit of address space is too small for so many threads.
void require_address_space(int threads);

}  // namespace phasor
