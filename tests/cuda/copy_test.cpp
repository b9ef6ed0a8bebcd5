// Copies on the GPU, in packs, tiles and one by one, and what is made of copies: fill, concat, stack, pad, flip.
#include <doctest/doctest.h>

#include <functional>

#include "core/device.hpp"
#include "core/ops/concat.hpp"
#include "core/ops/flip.hpp"
#include "core/ops/pad.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr Dtype all_dtypes[] = {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i32, Dtype::i64, Dtype::boolean};

Tensor some_numbers(const Shape& shape, Dtype dtype) {
  std::vector<double> values(static_cast<size_t>(shape.size()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i * 37 % 251) - 125;
  return Tensor::of<double>(shape, values).to(dtype);
}

using ViewOf = std::function<Tensor(const Tensor&)>;

}  // namespace

TEST_CASE("cuda: copy: every pair of dtypes, dense and strided") {
  for (const Dtype from : all_dtypes)
    for (const Dtype to : all_dtypes) {
      CAPTURE(from);
      CAPTURE(to);
      const Tensor x = some_numbers({36, 40}, from), there = x.to(Device::cuda);
      CHECK(bit_mismatch(there.to(to), x.to(to)) == "");
      CHECK(bit_mismatch(there.slice(1, 1, 38).to(to), x.slice(1, 1, 38).to(to)) == "");
      CHECK(bit_mismatch(there.transpose(0, 1).to(to), x.transpose(0, 1).to(to)) == "");
      CHECK(bit_mismatch(there.select(1, 3).to(to), x.select(1, 3).to(to)) == "");
    }
}

TEST_CASE("cuda: copy: views on either side, in every dtype") {
  const std::vector<ViewOf> views = {
      [](const Tensor& x) { return x.slice(2, 0, 130); },
      [](const Tensor& x) { return x.slice(2, 0, 128).transpose(0, 1); },
      [](const Tensor& x) { return x.slice(2, 1, 130); },
      [](const Tensor& x) { return x.transpose(1, 2); },
      [](const Tensor& x) { return x.slice(1, 2, 70).slice(2, 3, 69).transpose(1, 2); },
      [](const Tensor& x) { return x.transpose(0, 2); },
      [](const Tensor& x) {
        return x.permute({2, 0, 1});
      },
      [](const Tensor& x) {
        return x.permute({1, 2, 0});
      },
      [](const Tensor& x) { return x.slice(1, 0, 17).slice(2, 0, 16).transpose(1, 2); },
      [](const Tensor& x) { return x.slice(1, 0, 5).transpose(1, 2); },
      [](const Tensor& x) { return x.select(1, 4).unsqueeze(1); },
      [](const Tensor& x) { return x.select(0, 1).select(0, 4); },
      [](const Tensor& x) { return x.slice(0, 1, 1); },
  };
  for (const Dtype dtype : all_dtypes) {
    const Tensor x = some_numbers({3, 70, 130}, dtype), there = x.to(Device::cuda);
    for (size_t i = 0; i < views.size(); ++i) {
      CAPTURE(dtype);
      CAPTURE(i);
      const Tensor of_x = views[i](x), of_there = views[i](there);
      CHECK(bit_mismatch(of_there.clone(), of_x.clone()) == "");
      // Into a view of a larger block, and nowhere else.
      const Tensor into = Tensor::zeros(x.shape(), dtype), into_there = Tensor::zeros(x.shape(), dtype, Device::cuda);
      copy_into(views[i](into), of_x.clone());
      copy_into(views[i](into_there), of_there.clone());
      CHECK(bit_mismatch(into_there, into) == "");
      const Dtype other = dtype == Dtype::bf16 ? Dtype::f32 : Dtype::bf16;
      CHECK(bit_mismatch(of_there.to(other), of_x.to(other)) == "");
    }
    CHECK(bit_mismatch(there.slice(0, 0, 1).broadcast_to({4, 70, 130}).clone(),
                       x.slice(0, 0, 1).broadcast_to({4, 70, 130}).clone()) == "");
    CHECK(bit_mismatch(there.slice(2, 7, 8).broadcast_to({3, 70, 24}).clone(),
                       x.slice(2, 7, 8).broadcast_to({3, 70, 24}).clone()) == "");
    for (const int64_t count : {4097, 4099, 8195}) {
      const auto flat = [&](const Tensor& of) { return of.reshape({3 * 70 * 130}); };
      CHECK(bit_mismatch(flat(there).slice(0, 0, count).clone(), flat(x).slice(0, 0, count)) == "");
      CHECK(bit_mismatch(flat(there).slice(0, 1, count).clone(), flat(x).slice(0, 1, count)) == "");
    }
  }
}

TEST_CASE("cuda: fill: every dtype, views, and nothing beside them") {
  for (const Dtype dtype : all_dtypes) {
    CAPTURE(dtype);
    for (const ViewOf& view :
         std::vector<ViewOf>{[](const Tensor& x) { return x; }, [](const Tensor& x) { return x.slice(1, 3, 14); },
                             [](const Tensor& x) { return x.select(1, 2); },
                             [](const Tensor& x) { return x.transpose(0, 1).slice(0, 8, 16); }}) {
      const Tensor here = some_numbers({30, 16}, dtype), there = here.to(Device::cuda);
      fill(view(here), 1);
      fill(view(there), 1);
      CHECK(bit_mismatch(there, here) == "");
    }
  }
}

TEST_CASE("cuda: concat, stack, pad, flip: every dtype, the bits of the CPU") {
  for (const Dtype dtype : all_dtypes) {
    CAPTURE(dtype);
    const Tensor a = some_numbers({3, 5, 24}, dtype), b = some_numbers({3, 2, 24}, dtype), turned = a.transpose(0, 2);
    const auto there = [](const Tensor& x) { return x.to(Device::cuda); };
    CHECK(bit_mismatch(concat({there(a), there(b), there(a)}, 1), concat({a, b, a}, 1)) == "");
    CHECK(bit_mismatch(stack({there(a), there(a)}, -1), stack({a, a}, -1)) == "");
    CHECK(bit_mismatch(concat({there(a).transpose(0, 2), there(b).transpose(0, 2)}, 1),
                       concat({turned, b.transpose(0, 2)}, 1)) == "");
    if (dtype != Dtype::boolean)
      for (int axis = 0; axis < 3; ++axis)
        CHECK(bit_mismatch(pad(there(a), axis, 2, 3, 7), pad(a, axis, 2, 3, 7)) == "");
    for (int axis = 0; axis < 3; ++axis) {
      CHECK(bit_mismatch(flip(there(a), axis), flip(a, axis)) == "");
      CHECK(bit_mismatch(flip(there(a).transpose(0, 2), axis), flip(turned, axis)) == "");
      CHECK(bit_mismatch(flip(there(a).slice(2, 1, 23), axis), flip(a.slice(2, 1, 23), axis)) == "");
    }
  }
  const Tensor x = Tensor::zeros({2, 3}, Dtype::f32);
  CHECK_THROWS_WITH_AS(concat({x, x.to(Device::cuda)}, 0), doctest::Contains("part 1 is on cuda, part 0 on cpu"),
                       DeviceError);
  CHECK_THROWS_AS(stack({x.to(Device::cuda), x}, 0), DeviceError);
}
