// Properties of safetensors files: whatever is written comes back bit for bit, and the same content is the same bytes.
#include "nn/safetensors.hpp"

#include <doctest/doctest.h>

#include "tests/support/command.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"

using namespace phasor;

namespace {

// Letters, a path (never "../", which is refused), JSON's own characters, a line end, letters of 2, 3 and 4 bytes.
std::string any_name() {
  static const std::vector<std::string> pieces = {"a",  "Q",  ".", "a/", " ", "\"", "\\",         "{",
                                                  "\n", "\t", "0", "_",  "é", "文", "\U0001d11e", "-"};
  std::string name;
  for (const int piece : *rc::gen::container<std::vector<int>>(from_to(0, 15))) name += pieces[piece];
  return name;
}

Tensor any_content() {
  const Dtype dtype = *rc::gen::element(Dtype::f32, Dtype::f64, Dtype::i32, Dtype::i64, Dtype::boolean);
  const Tensor x = *any_tensor(*any_shape(), is_float(dtype) ? dtype : Dtype::f64);
  // A normal number rounds to 0, 1 or 2.
  return dtype == Dtype::boolean ? x.to(Dtype::i32).to(dtype) : x.to(dtype);
}

}  // namespace

TEST_CASE("properties of safetensors: what is written comes back, and writes the same bytes again") {
  const testing::TemporaryFolder folder;
  check_property(
      [&] {
        TensorFile file;
        const int count = *from_to(0, 5);
        for (int i = 0; i < count; ++i) file.tensors.emplace_back(any_name() + std::to_string(i), any_content());
        for (int i = *from_to(0, 3); i > 0; --i) file.metadata[any_name() + std::to_string(i)] = any_name();
        write_safetensors(folder / "first", file);
        const TensorFile back = read_safetensors(folder / "first");
        RC_ASSERT(back.metadata == file.metadata);
        RC_ASSERT(back.tensors.size() == file.tensors.size());
        for (size_t i = 0; i < file.tensors.size(); ++i) {
          RC_ASSERT(back.tensors[i].first == file.tensors[i].first);
          must_be_empty(bit_mismatch(back.tensors[i].second, file.tensors[i].second));
          RC_ASSERT(back.tensors[i].second.is_contiguous());
        }
        write_safetensors(folder / "second", back);
        RC_ASSERT(testing::text_of(folder / "first") == testing::text_of(folder / "second"));
      },
      60);
}
