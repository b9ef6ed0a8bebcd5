// Device memory, which is there only while a kernel or a copy runs, and the dynamic shared memory of a block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace phasor::emulator::memory {

void* allocate(size_t bytes);  // null: beyond what the device has
bool release(void* block);     // false: not a live block
constexpr size_t reserved_bytes = size_t{256} << 30;
inline uintptr_t first_address = uintptr_t{1} << 63;  // of the device, once it is there
inline bool is_device(const void* at) { return reinterpret_cast<uintptr_t>(at) - first_address < reserved_bytes; }
// Whether all of it lies in one live block.
bool is_live(const void* at, size_t bytes);
size_t bytes_in_use();
size_t total_bytes();

// While one lives, device memory can be read and written. Who makes one holds the lock of the device.
class Access {
 public:
  Access();
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
};

constexpr size_t most_shared_bytes = 227 << 10;
void set_dynamic_shared(size_t bytes);
// Not if it is in device memory, or beyond the dynamic shared memory that was asked for.
bool may_be_shared(const void* at, size_t bytes);

}  // namespace phasor::emulator::memory
