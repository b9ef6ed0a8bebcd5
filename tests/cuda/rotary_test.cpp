// The twin of rotary: what op cases do not see.
#include "core/ops/rotary.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/ops/reduce.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }

constexpr RotaryLayout layouts[] = {RotaryLayout::interleaved, RotaryLayout::half_split};

struct Arguments {
  Tensor x, cos, sin, dy;  // f64, on the CPU
};

// The numbers of a dtype, in double.
Arguments arguments(const Shape& shape, const Shape& table, Dtype of_x, Dtype of_table) {
  Random random{.seed = 31};
  const auto made = [&](const Shape& s, Dtype dtype) { return random_tensor(s, random).to(dtype).to(Dtype::f64); };
  return {made(shape, of_x), made(table, of_table), made(table, of_table), made(shape, of_x)};
}

// Values and all gradients against the CPU's in double; `of_x` puts x and dy on the GPU.
template <class Put>
void check_all(const Arguments& a, RotaryLayout layout, Dtype of_x, Dtype of_table, Put of_x_on_gpu) {
  const Tensor x = of_x_on_gpu(a.x.to(of_x)), dy = of_x_on_gpu(a.dy.to(of_x));
  const Tensor cos = gpu(a.cos.to(of_table)), sin = gpu(a.sin.to(of_table));
  const double limit = of_x == Dtype::f64    ? tolerance::cuda_f64
                       : of_x == Dtype::bf16 ? tolerance::cuda_bf16(0x1p-9)
                                             : tolerance::f32(2, 0);
  CHECK(mismatch(rotary(x, cos, sin, layout), of_x, rotary(a.x, a.cos, a.sin, layout), limit) == "");
  CHECK(mismatch(rotary_transposed(dy, cos, sin, layout), of_x, rotary_transposed(a.dy, a.cos, a.sin, layout), limit) ==
        "");
  const RotaryTableGradients got = rotary_table_backward(x, cos, sin, layout, dy);
  const RotaryTableGradients expected = rotary_table_backward(a.x, a.cos, a.sin, layout, a.dy);
  const double of_sums = of_table == Dtype::f32 ? tolerance::f32(2 * a.x.size() / a.cos.size(), 0) : limit;
  CHECK(mismatch(got.dcos, of_table, expected.dcos, of_sums) == "");
  CHECK(mismatch(got.dsin, of_table, expected.dsin, of_sums) == "");
}

}  // namespace

TEST_CASE("cuda: rotary: f32 tables beside bf16, whose gradients are f32") {
  for (const RotaryLayout layout : layouts)
    for (const int64_t passed : {0, 8, 3 * 2}) {
      const Arguments a = arguments({2, 3, 5, 32 + passed}, {5, 16}, Dtype::bf16, Dtype::f32);
      check_all(a, layout, Dtype::bf16, Dtype::f32, gpu);
      const std::vector<Var> leaves = {Var::leaf(gpu(a.x.to(Dtype::bf16))), Var::leaf(gpu(a.cos.to(Dtype::f32))),
                                       Var::leaf(gpu(a.sin.to(Dtype::f32)))};
      const Gradients gradients = backward(rotary(leaves[0], leaves[1], leaves[2], layout), gpu(a.dy.to(Dtype::bf16)));
      CHECK(gradients[leaves[0]].dtype() == Dtype::bf16);
      CHECK(gradients[leaves[1]].dtype() == Dtype::f32);
    }
}

TEST_CASE("cuda: rotary: many heads of one table row, heads or positions innermost in memory") {
  const auto heads_inside = [](const Tensor& x) { return gpu(x.transpose(1, 2).clone()).transpose(1, 2); };
  for (const RotaryLayout layout : layouts)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      const Arguments a = arguments({2, 7, 300, 64}, {300, 24}, dtype, dtype);
      check_all(a, layout, dtype, dtype, gpu);
      check_all(a, layout, dtype, dtype, heads_inside);
      const Tensor x = heads_inside(a.x.to(dtype));
      CHECK(rotary(x, gpu(a.cos.to(dtype)), gpu(a.sin.to(dtype)), layout).strides() == x.strides());
    }
}

TEST_CASE("cuda: rotary: tables of their own for batches, heads, positions, and one row for all") {
  for (const Shape& table : {Shape{3, 1, 20, 8}, Shape{5, 1, 8}, Shape{3, 5, 20, 8}, Shape{1, 5, 20, 8}, Shape{8}})
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16})
      check_all(arguments({3, 5, 20, 16}, table, dtype, dtype), RotaryLayout::half_split, dtype, dtype, gpu);
}

TEST_CASE("cuda: rotary: sums over many rows are cut into parts") {
  for (const Shape& table : {Shape{4, 4}, Shape{1, 4}, Shape{6, 1, 1, 4}})
    for (const Dtype dtype : {Dtype::f64, Dtype::f32})
      check_all(arguments({6, 70, 4, 8}, table, dtype, dtype), RotaryLayout::interleaved, dtype, dtype, gpu);
}

TEST_CASE("cuda: rotary: rows that no 16 bytes are aligned to give the same bits, and channels pass through") {
  const Arguments a = arguments({2, 3, 9, 48}, {9, 16}, Dtype::f32, Dtype::f32);
  const Tensor cos = gpu(a.cos.to(Dtype::f32)), sin = gpu(a.sin.to(Dtype::f32));
  for (const RotaryLayout layout : layouts) {
    const Tensor x = gpu(a.x.to(Dtype::f32));
    const Tensor shifted = Tensor::zeros({2, 3, 9, 49}, Dtype::f32, Device::cuda).slice(3, 1, 49);
    copy_into(shifted, x);
    const Tensor y = rotary(x, cos, sin, layout);
    CHECK(bit_mismatch(rotary(shifted, cos, sin, layout), y) == "");
    CHECK(bit_mismatch(y.slice(3, 32, 48), x.slice(3, 32, 48)) == "");
    const Tensor odd_cos = Tensor::zeros({9, 17}, Dtype::f32, Device::cuda).slice(1, 1, 17);
    copy_into(odd_cos, cos);
    CHECK(bit_mismatch(rotary(x, odd_cos, sin, layout), y) == "");
  }
}

TEST_CASE("cuda: rotary: refuses mixed devices and dtypes") {
  const Tensor x = Tensor::zeros({1, 1, 2, 4}, Dtype::f32, Device::cuda), table = Tensor::zeros({2, 2}, Dtype::f32);
  CHECK_THROWS_AS(rotary(x, table, table, RotaryLayout::half_split), DeviceError);
  CHECK_THROWS_AS(rotary(x, gpu(table).to(Dtype::bf16), gpu(table).to(Dtype::bf16), RotaryLayout::half_split),
                  DtypeError);
}
