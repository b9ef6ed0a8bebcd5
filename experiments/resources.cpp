// Asks the system.
#include "experiments/resources.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "core/device.hpp"
#include "core/error.hpp"

namespace phasor {

int thread_count(int asked) {
  return asked > 0 ? asked : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// A product of OpenBLAS takes 128 MiB of address space on each thread, and waits forever where there is none.
void require_address_space(int threads) {
  rlimit limit = {};
  constexpr uint64_t for_each_thread = uint64_t{128} << 20, for_the_rest = uint64_t{512} << 20;
  const uint64_t needed = for_the_rest + for_each_thread * (static_cast<uint64_t>(threads) + 1);
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    require<ResourceError>(limit.rlim_cur >= needed, "memory", "the limit of this shell is ", limit.rlim_cur >> 20,
                           " MiB of address space; ", threads, " threads need at least ", needed >> 20,
                           " MiB (ulimit -v), or take fewer with --threads");
}

double available_bytes(Device device) {
  if (device == Device::cuda) return static_cast<double>(gpu_properties().free_bytes);
  std::string key;
  double kib = 0;
  for (std::ifstream info("/proc/meminfo"); info >> key;)
    if (key == "MemAvailable:" && info >> kib) return kib * 1024;
  return std::numeric_limits<double>::infinity();
}

}  // namespace phasor
