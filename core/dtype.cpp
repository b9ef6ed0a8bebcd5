// Sizes and names of element types and devices.
#include "core/dtype.hpp"

#include <ostream>

#include "core/dispatch.hpp"

namespace phasor {

size_t bytes_per_element(Dtype dtype) {
  return with_any(dtype, []<class T>() { return sizeof(T); });
}

std::ostream& operator<<(std::ostream& out, Dtype dtype) {
  constexpr const char* names[] = {"f32", "f64", "bf16", "i32", "i64", "boolean"};
  return out << names[static_cast<int>(dtype)];
}

std::ostream& operator<<(std::ostream& out, Device device) { return out << (device == Device::cpu ? "cpu" : "cuda"); }

}  // namespace phasor
