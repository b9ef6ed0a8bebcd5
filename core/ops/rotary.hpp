// Turns each component (a pair of channels) of x by the angle whose cosine and sine are given.
//   x        [batch, heads, length, head_dim] f32 or f64 (on the GPU bf16 too), head_dim even
//   cos, sin broadcast to [batch, heads, length, components] (leading axes may be 1), the same dtype, or f32 beside
//   bf16;
//            2 * components <= head_dim; channels beyond pass through
//   layout   which channels pair up among the first r = 2 * components: interleaved (2p, 2p+1), half_split (p, p + r/2)
//   y0 = x0 c - x1 s,   y1 = x0 s + x1 c      (Su et al., RoFormer, arXiv:2104.09864, eq. 34)
// The kernel knows nothing of frequencies: any encoding that turns components only changes the table.
// The result keeps x's order of axes in memory. Errors: ShapeError, DtypeError.
#pragma once

#include <array>
#include <string>

#include "core/tensor.hpp"

namespace phasor {

enum class RotaryLayout { interleaved, half_split };

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout);
// The inverse turn (s -> -s): the gradient of x.
Tensor rotary_transposed(const Tensor& dy, const Tensor& cos, const Tensor& sin, RotaryLayout layout);

// The checks of all functions here, and of those that turn what they read: `op` names the caller, `prefix` the tables
// ("q_": q_cos, q_sin). Returns the tables over all of x, [batch, heads, length, components], stride 0 where they are
// broadcast.
struct RotaryTensors {
  Tensor cos, sin;
};
RotaryTensors checked_rotary_tables(const char* op, const char* name, const std::string& prefix, const Tensor& x,
                                    const Tensor& cos, const Tensor& sin);

struct RotaryTableGradients {
  Tensor dcos, dsin;  // shapes of cos and sin: summed over the axes that the tables broadcast
};
RotaryTableGradients rotary_table_backward(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout,
                                           const Tensor& dy);

namespace cuda {
// What the functions above call on the GPU, after their checks. x, y, dy have last stride 1; cos and sin have the shape
// of x but for the last axis, with strides 0 where they are broadcast; `own` are the table's leading extents.
void rotary(const Tensor& y, const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout);
void rotary_transposed(const Tensor& y, const Tensor& dy, const Tensor& cos, const Tensor& sin, RotaryLayout layout);
void rotary_table_backward(const RotaryTableGradients& gradients, const Tensor& x, const std::array<int64_t, 3>& own,
                           RotaryLayout layout, const Tensor& dy);
}  // namespace cuda

namespace reference {
Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout);
}

}  // namespace phasor
