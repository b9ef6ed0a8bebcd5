// Template of `phasor new encoding`, which writes this file under another name and without this line.
// new_encoding: its numbers, worked out by hand. What holds for every encoding is tested in encodings_test.cpp.
#include <doctest/doctest.h>

#include "tests/positional/rotation_tables.hpp"

namespace phasor::encoding {
EncodingEntry new_encoding();
}

TEST_CASE("new_encoding: components turn at half of RoPE's speed") {
  using namespace phasor;
  ParameterList learned;
  const PositionalEncoding made = make_encoding(encoding::new_encoding(), shape_of(8, 128), learned);
  // RoPE's frequencies for head_dim = 8 and base 10 000 are 1, 0.1, 0.01, 0.001.
  check_frequencies(waves_of(made), {0.5, 0.05, 0.005, 0.0005});
}
