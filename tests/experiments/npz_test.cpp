// Files for NumPy, read back by the formats' descriptions; a failing write leaves what was there.
#include "experiments/report/npz.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "core/error.hpp"
#include "nn/files.hpp"
#include "tests/support/command.hpp"
#include "tests/support/npz_reader.hpp"

using namespace phasor;
using namespace phasor::testing;

TEST_CASE("write_npz: every dtype, any rank and strides, read back") {
  const Tensor f32 = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, -6.5f});
  const Tensor booleans = Tensor::zeros({3}, Dtype::boolean);
  booleans.data<bool>()[1] = true;
  const TemporaryFolder folder;
  write_npz(folder / "a.npz", {{"b", f32},
                               {"a", f32.transpose(0, 1).slice(0, 1, 3)},
                               {"f64", Tensor::scalar(0.1, Dtype::f64)},
                               {"i32", Tensor::of<int32_t>({1}, {-7})},
                               {"i64", Tensor::of<int64_t>({2, 1, 1}, {int64_t{1} << 40, -1})},
                               {"boolean", booleans},
                               {"layer0.empty", Tensor::zeros({0, 4}, Dtype::f32)}});
  const Npz npz = read_npz(text_of(folder / "a.npz"));
  CHECK(npz.names == std::vector<std::string>{"b", "a", "f64", "i32", "i64", "boolean", "layer0.empty"});
  const auto check = [&]<class T>(const std::string& name, const char* type, const char* shape,
                                  const std::vector<T>& values) {
    CAPTURE(name);
    const NpyArray& array = npz.arrays.at(name);
    CHECK(array.type == type);
    CHECK(array.shape == shape);
    CHECK(array.values<T>() == values);
  };
  check("b", "<f4", "(2, 3, )", std::vector<float>{1, 2, 3, 4, 5, -6.5f});
  check("a", "<f4", "(2, 2, )", std::vector<float>{2, 5, 3, -6.5f});
  check("f64", "<f8", "()", std::vector<double>{0.1});
  check("i32", "<i4", "(1, )", std::vector<int32_t>{-7});
  check("i64", "<i8", "(2, 1, 1, )", std::vector<int64_t>{int64_t{1} << 40, -1});
  check("boolean", "|b1", "(3, )", std::vector<char>{0, 1, 0});
  check("layer0.empty", "<f4", "(0, 4, )", std::vector<float>{});
}

TEST_CASE("write_npz: equal arrays give equal bytes, and nothing else stays in the folder") {
  const TemporaryFolder folder;
  const Tensor x = Tensor::full({40, 30}, 0.3, Dtype::f32);
  write_npz(folder / "a.npz", {{"x", x}});
  write_npz(folder / "b.npz", {{"x", x.clone()}});
  CHECK(text_of(folder / "a.npz") == text_of(folder / "b.npz"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("write_npz: what cannot be written is refused, and the old file stays") {
  const TemporaryFolder folder;
  const Tensor x = Tensor::scalar(1, Dtype::f32);
  write_text(folder / "a.npz", "old");
  using Arrays = std::vector<NamedTensor>;
  for (const Arrays& arrays : {Arrays{{"x", x}, {"x", x}}, Arrays{{"", x}}, Arrays{{"a/b", x}}, Arrays{}})
    CHECK_THROWS_AS(write_npz(folder / "a.npz", arrays), ValueError);
  for (const std::string fails : {"write", "rename"}) {
    files_testing::before_system_call = [&](const char* call) { return fails == call ? ENOSPC : 0; };
    CHECK_THROWS_AS(write_npz(folder / "a.npz", {{"x", x}}), ResourceError);
    files_testing::before_system_call = nullptr;
  }
  CHECK(text_of(folder / "a.npz") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}
