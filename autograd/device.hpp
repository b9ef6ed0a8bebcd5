// Where operands meet: constants follow variables to the GPU.
//
// What an encoding computes from positions, a mask, ids, a number: all are made on the host. Where one operand of an op
// is on the GPU, its constants on the CPU are copied there. A variable never moves by itself: the op throws
// DeviceError.
#pragma once

#include <initializer_list>

#include "autograd/var.hpp"
#include "core/ops/attention.hpp"

namespace phasor {

inline Device common_device(std::initializer_list<Device> devices) {
  for (const Device device : devices)
    if (device == Device::cuda) return device;
  return Device::cpu;
}

inline Tensor on(Device device, const Tensor& x) { return x.defined() ? x.to(device) : x; }
// A single number stays on the host: element-wise ops take it from there as it is.
inline Var on(Device device, const Var& x) {
  return x.device() == device || x.needs_gradient() || x.rank() == 0 ? x : Var(on(device, x.value()));
}

// The tables of a rotation; segments serve from anywhere.
inline AttentionOptions on(Device device, AttentionOptions options) {
  if (options.rotation)
    for (Tensor* const table :
         {&options.rotation->q_cos, &options.rotation->q_sin, &options.rotation->k_cos, &options.rotation->k_sin})
      *table = on(device, *table);
  return options;
}

}  // namespace phasor
