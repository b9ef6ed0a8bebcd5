// Choice by a condition: one pass over three operands, elements moved as they are.
#include "core/ops/where.hpp"

#include <bit>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"

namespace phasor {
namespace {

// The shape to which all three broadcast; all checks of the op.
Shape common_shape(const Tensor& condition, const Tensor& a, const Tensor& b) {
  require_defined("where", "condition", condition);
  require<DtypeError>(condition.dtype() == Dtype::boolean, "where", "condition is ", condition.dtype(),
                      "; needs boolean, as greater() and the like give it");
  require_operands("where", "a", a, "b", b);
  for (const auto& [name, operand] : {std::pair("a", &a), std::pair("b", &b)})
    if (!is_number_of_cpu(condition) && !is_number_of_cpu(*operand))
      require_same_device("where", "condition", condition, name, *operand);
  for (int axis = -1; axis >= -max_rank; --axis) {
    int64_t extent = 1;
    for (const Tensor* const operand : {&condition, &a, &b}) {
      const int64_t own = axis >= -operand->rank() ? operand->extent(axis) : 1;
      require(extent == 1 || own == 1 || own == extent, "where", "cannot broadcast: condition is ", condition.shape(),
              ", a is ", a.shape(), ", b is ", b.shape(), "; axis ", axis, " is ", extent, " and ", own,
              ", neither is 1");
      if (own != 1) extent = own;
    }
  }
  return broadcast_shape("where", broadcast_shape("where", condition.shape(), a.shape()), b.shape());
}

// The result lies in memory like an operand of its own shape, if there is one.
Tensor empty_result(const Shape& shape, const Tensor& a, const Tensor& b, Device device) {
  if (a.shape() == shape && a.is_on(device)) return Tensor::empty_like(a);
  if (b.is_on(device)) return Tensor::empty_like(b.broadcast_to(shape));
  return Tensor::empty(shape, a.dtype(), device);
}

}  // namespace

Tensor reference::where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Shape shape = common_shape(condition, a, b);
  const Tensor y = Tensor::empty(shape, a.dtype());
  const std::vector<bool> choice = condition.broadcast_to(shape).to_vector<bool>();
  with_any(a.dtype(), [&]<class T>() {
    const std::vector<T> if_true = a.broadcast_to(shape).to_vector<T>(),
                         if_false = b.broadcast_to(shape).to_vector<T>();
    for (size_t i = 0; i < choice.size(); ++i) y.data<T>()[i] = choice[i] ? if_true[i] : if_false[i];
  });
  return y;
}

namespace {

// As bits: a branch on a condition without pattern would be mispredicted every other time.
template <class T>
T chosen(unsigned char condition, T if_true, T if_false) {
  using Bits = std::conditional_t<
      sizeof(T) == 8, uint64_t,
      std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;
  const Bits mask = static_cast<Bits>(-static_cast<Bits>(condition));
  const Bits bits = (std::bit_cast<Bits>(if_true) & mask) | (std::bit_cast<Bits>(if_false) & static_cast<Bits>(~mask));
  return std::bit_cast<T>(bits);
}

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Shape shape = common_shape(condition, a, b);
  if constexpr (kHasCuda)
    if (condition.is_on(Device::cuda) || a.is_on(Device::cuda) || b.is_on(Device::cuda)) {
      const Tensor y = empty_result(shape, a, b, Device::cuda);
      cuda::where(y, condition.broadcast_to(shape), a.broadcast_to(shape), b.broadcast_to(shape));
      return y;
    }
  return with_any(a.dtype(), [&]<class T>() {
    const Tensor y = empty_result(shape, a, b, Device::cpu);
    const StridedLoop<4> loop(shape, {y.strides(), condition.broadcast_to(shape).strides(),
                                      a.broadcast_to(shape).strides(), b.broadcast_to(shape).strides()});
    T* const to = y.data<T>();
    // As bytes: the compiler makes no vectors of bool.
    const auto* const choice = reinterpret_cast<const unsigned char*>(condition.data<bool>());
    const T* const if_true = a.data<T>();
    const T* const if_false = b.data<T>();
    // Steps that are constants let the compiler make vectors; a side that is one number is common (and in every
    // gradient).
    const auto run = [&](auto step_y, auto step_c, auto step_a, auto step_b) {
      loop.run(grain_for(1), [&](const std::array<int64_t, 4>& at, int64_t count) {
        T* const row = to + at[0];
        const unsigned char* const row_c = choice + at[1];
        const T* const row_a = if_true + at[2];
        const T* const row_b = if_false + at[3];
        for (int64_t i = 0; i < count; ++i)
          row[i * step_y] = chosen(row_c[i * step_c], row_a[i * step_a], row_b[i * step_b]);
      });
    };
    const std::integral_constant<int64_t, 0> fixed;
    const std::integral_constant<int64_t, 1> next;
    const int64_t step_a = loop.step(2), step_b = loop.step(3);
    const bool is_dense = loop.step(0) == 1 && loop.step(1) == 1;
    if (is_dense && step_a == 1 && step_b == 1)
      run(next, next, next, next);
    else if (is_dense && step_a == 1 && step_b == 0)
      run(next, next, next, fixed);
    else if (is_dense && step_a == 0 && step_b == 1)
      run(next, next, fixed, next);
    else
      run(loop.step(0), loop.step(1), step_a, step_b);
    return y;
  });
}

}  // namespace phasor
