// The twins of choices by ids and of their sums: what op cases do not see.
#include "core/ops/gather.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "core/device.hpp"
#include "core/ops/embedding.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }

// Few ids are most of all, as in text; one in `hot_every` is id `hot`.
Tensor skewed_ids(int64_t count, int64_t bound, int64_t hot, int64_t hot_every, Random& random) {
  const Tensor ids = random_ids({count}, bound, random),
               narrow = random_ids({count}, std::min<int64_t>(bound, 7), random);
  std::vector<int64_t> values = ids.to_vector<int64_t>();
  const std::vector<int64_t> few = narrow.to_vector<int64_t>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (i % 3 == 0) values[i] = few[i];
    if (static_cast<int64_t>(i) % hot_every == 0) values[i] = hot;
  }
  return Tensor::of<int64_t>({count}, values);
}

}  // namespace

TEST_CASE("cuda: gather: rows move in packs and element by element, to the same bits as on the CPU") {
  Random random{.seed = 2};
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16})
    for (const int64_t width : {64, 63, 1}) {
      const Tensor table = random_tensor({9, width}, random).to(dtype), ids = random_ids({400}, 9, random);
      const Tensor got = index_select(gpu(table), 0, gpu(ids.to(Dtype::i32))).to(Device::cpu);
      const std::vector<int64_t> rows = ids.to_vector<int64_t>();
      for (int64_t i = 0; i < 400; i += 23) CHECK(bit_mismatch(got.select(0, i), table.select(0, rows[i])) == "");
      // A table whose rows begin between packs.
      const Tensor odd = Tensor::zeros({9, width + 1}, dtype, Device::cuda).slice(1, 1, width + 1);
      copy_into(odd, gpu(table));
      CHECK(bit_mismatch(index_select(odd, 0, gpu(ids)), got) == "");
    }
  const Tensor x = random_tensor({3, 8, 16}, random).to(Dtype::f32), ids = random_ids({5}, 8, random);
  CHECK(bit_mismatch(index_select(gpu(x), 1, gpu(ids)), index_select(x, 1, ids)) == "");
  const Tensor own_ids = random_ids({3, 5, 16}, 8, random);
  CHECK(bit_mismatch(gather(gpu(x), 1, gpu(own_ids)), gather(x, 1, own_ids)) == "");
}

TEST_CASE("cuda: scatter_add: in the order of ids, to the same bits as on the CPU") {
  Random random{.seed = 3};
  // Rows whose sums are in shared memory, rows that are too long for it, few and many rows, columns.
  for (const auto& [shape, axis, count] : std::vector<std::tuple<Shape, int, int64_t>>{{{6, 40}, 1, 300},
                                                                                       {{2, 15000}, 1, 200},
                                                                                       {{1, 3}, 1, 1000},
                                                                                       {{300, 5}, 1, 40},
                                                                                       {{7, 90}, 0, 50},
                                                                                       {{12}, 0, 99}})
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const Tensor x = random_tensor(shape, random).to(dtype);
      const Tensor ids = random_ids(shape.with(axis, count), shape[axis], random);
      const Tensor source = random_tensor(ids.shape(), random).to(dtype);
      const Tensor got = scatter_add(gpu(x), axis, gpu(ids), gpu(source));
      CHECK(bit_mismatch(got, scatter_add(x, axis, ids, source)) == "");
      CHECK(bit_mismatch(gather_backward(shape[axis], axis, gpu(ids), gpu(source)),
                         gather_backward(shape[axis], axis, ids, source)) == "");
      // The same where the elements of a row lie apart.
      if (shape.rank() != 2) continue;
      const auto turned = [](const Tensor& t) { return gpu(t.transpose(0, 1).clone()).transpose(0, 1); };
      CHECK(bit_mismatch(scatter_add(turned(x), axis, turned(ids), turned(source)), got) == "");
    }
}

TEST_CASE("cuda: scatter_add: small terms of bf16 are not lost in a large sum") {
  const Tensor ids = Tensor::zeros({1, 1000}, Dtype::i64), ones = Tensor::full({1, 1000}, 1, Dtype::bf16);
  const Tensor y = scatter_add(Tensor::full({1, 2}, 24, Dtype::bf16, Device::cuda), 1, gpu(ids), gpu(ones));
  CHECK(y.to(Dtype::f64).to_vector<double>() == std::vector<double>{1024, 24});
}

TEST_CASE("cuda: embedding: gradients of small and large vocabularies, one pass of sorting and two") {
  Random random{.seed = 4};
  for (const auto& [rows, count, width, hot_every] : std::vector<std::array<int64_t, 4>>{{257, 3000, 36, 5},
                                                                                         {2000, 700, 130, 900},
                                                                                         {50000, 700, 3, 2},
                                                                                         {5, 1200, 4, 1},
                                                                                         {1, 100, 8, 1},
                                                                                         {3, 1, 5, 1}}) {
    CAPTURE(rows);
    CAPTURE(width);
    const Tensor ids = skewed_ids(count, rows, rows / 2, hot_every, random);
    const Tensor dy = random_tensor({count, width}, random);
    const Tensor expected = embedding_backward(rows, ids, dy);
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      const double limit = dtype == Dtype::f64   ? tolerance::cuda_f64
                           : dtype == Dtype::f32 ? tolerance::f32(count, 0)
                                                 : tolerance::cuda_bf16(0x1p-8);
      CHECK(mismatch(embedding_backward(rows, gpu(ids.to(Dtype::i32)), gpu(dy.to(dtype))), dtype, expected, limit) ==
            "");
    }
    const Tensor table = random_tensor({rows, width}, random).to(Dtype::f32);
    CHECK(bit_mismatch(embedding(gpu(table), gpu(ids)), embedding(table, ids)) == "");
  }
}

TEST_CASE("cuda: index_select_backward: at every axis, rows of any length, ids from strided memory") {
  Random random{.seed = 5};
  for (const int64_t extent : {2, 40})
    for (const int axis : {0, 1, 2}) {
      const Tensor dy = random_tensor(Shape{5, 6, 24}.with(axis, 150), random),
                   ids = random_ids({150, 2}, extent, random);
      const Tensor expected = index_select_backward(extent, axis, ids.select(1, 1), dy);
      const Tensor got = index_select_backward(extent, axis, gpu(ids).select(1, 1), gpu(dy));
      CHECK(mismatch(got, Dtype::f64, expected, tolerance::cuda_f64) == "");
      const Tensor turned = gpu(dy.transpose(0, 2).clone()).transpose(0, 2);
      CHECK(bit_mismatch(index_select_backward(extent, axis, gpu(ids).select(1, 1), turned), got) == "");
    }
}

TEST_CASE("cuda: embedding: NaN and infinity reach their own row alone") {
  const Tensor dy = Tensor::full({100, 4}, 1, Dtype::f32);
  fill(dy.select(0, 70), std::nan(""));
  std::vector<int64_t> ids(100, 1);
  ids[70] = 2;
  const std::vector<float> y = embedding_backward(4, gpu(Tensor::of<int64_t>({100}, ids)), gpu(dy)).to_vector<float>();
  for (int i = 0; i < 16; ++i) CHECK((i / 4 == 2 ? std::isnan(y[i]) : y[i] == (i / 4 == 1 ? 99 : 0)));
}

TEST_CASE("cuda: embedding: in a graph, with other ids at every launch") {
  Random random{.seed = 6};
  const Tensor table = random_tensor({300, 20}, random).to(Dtype::f32);
  const Tensor dy = random_tensor({500, 20}, random).to(Dtype::f32);
  const Tensor ids = Tensor::zeros({500}, Dtype::i32, Device::cuda), on_gpu[] = {gpu(table), gpu(dy)};
  Tensor rows, gradient;
  const DeviceGraph graph([&] {
    rows = embedding(on_gpu[0], ids);
    gradient = embedding_backward(300, ids, on_gpu[1]);
  });
  for (int launch = 0; launch < 2; ++launch) {
    const Tensor now = random_ids({500}, 300, random);
    copy_into(ids, now.to(Dtype::i32));
    graph.launch();
    CHECK(bit_mismatch(rows, embedding(table, now)) == "");
    CHECK(mismatch(gradient, Dtype::f32, embedding_backward(300, now, dy.to(Dtype::f64)), tolerance::f32(500, 0)) ==
          "");
  }
}

TEST_CASE("cuda: one_hot: of any dtype, ids of any strides") {
  Random random{.seed = 7};
  const Tensor ids = random_ids({30, 4}, 19, random);
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::i64, Dtype::boolean}) {
    CHECK(bit_mismatch(one_hot(gpu(ids), 19, dtype), one_hot(ids, 19, dtype)) == "");
    CHECK(bit_mismatch(one_hot(gpu(ids).transpose(0, 1), 19, dtype), one_hot(ids.transpose(0, 1), 19, dtype)) == "");
  }
  CHECK(one_hot(gpu(ids), 19, Dtype::bf16).to(Dtype::f32).to(Device::cpu).to_vector<float>() ==
        one_hot(ids, 19, Dtype::f32).to_vector<float>());
}

TEST_CASE("cuda: gather: bad ids are named as on the CPU, ids on the CPU are refused") {
  const Tensor table = Tensor::zeros({3, 4}, Dtype::f32, Device::cuda),
               dy = Tensor::zeros({2, 4}, Dtype::f32, Device::cuda);
  const Tensor bad = Tensor::of<int64_t>({2}, {1, 3}), good = Tensor::of<int64_t>({2}, {1, 2});
  CHECK_THROWS_WITH_AS(embedding(table, gpu(bad)), doctest::Contains("embedding: id 3 at index [1] of [2]"),
                       ValueError);
  CHECK_THROWS_WITH_AS(index_select(table, 0, gpu(bad)), doctest::Contains("id 3 at index [1]"), ValueError);
  CHECK_THROWS_AS(embedding_backward(3, gpu(bad), dy), ValueError);
  CHECK_THROWS_AS(one_hot(gpu(bad), 3, Dtype::f32), ValueError);
  CHECK_THROWS_AS(index_select(table, 0, good), DeviceError);
  CHECK_THROWS_AS(embedding(table, good), DeviceError);
  CHECK_THROWS_AS(embedding_backward(3, good, dy), DeviceError);
  // A constant follows the variable in a differentiable op.
  CHECK(embedding(Var(table), good).shape() == Shape{2, 4});
}
