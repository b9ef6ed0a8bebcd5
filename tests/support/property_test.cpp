// The checker of properties is checked: false ones are found, with a small example, and found again.
#include "tests/support/property.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace phasor;

TEST_CASE("property: what is true passes, and a false one is shown with its smallest example") {
  const auto small = [] { RC_ASSERT(*rc::gen::inRange(0, 1000) < 70); };
  CHECK(falsified([] { RC_ASSERT(*rc::gen::inRange(0, 1000) < 1000); }) == "");
  const std::string message = falsified(small);
  CHECK(message.find("Falsifiable after") != std::string::npos);
  CHECK(message.find("int:\n70\n") != std::string::npos);
  CHECK(falsified(small) == message);
}

TEST_CASE("property: an exception and a sentence fail it; so does a property without examples") {
  CHECK(falsified([] {
          any_tensor({}, Dtype::f64);
          (*any_tensor({}, Dtype::f64)).select(0, 1);
        }).find("has no axis 0") != std::string::npos);
  CHECK(falsified([] { must_be_empty("the sentence"); }).find("the sentence") != std::string::npos);
  CHECK(falsified([] { must_be_empty(""); }) == "");
  CHECK(falsified([] { RC_PRE(false); }).find("Gave up") != std::string::npos);
}

TEST_CASE("property: the draws reach every rank, empty tensors, single elements and every kind of layout") {
  std::set<int> ranks;
  int empty = 0, single = 0, contiguous = 0, repeated = 0, turned = 0;
  check_property([&] {
    const Shape shape = *any_shape();
    const Tensor x = *any_tensor(shape, Dtype::f32);
    RC_ASSERT(x.shape() == shape);
    ranks.insert(x.rank());
    empty += x.size() == 0;
    single += x.size() == 1;
    contiguous += x.is_contiguous();
    int64_t last = INT64_MAX;
    for (int axis = 0; axis < x.rank(); ++axis) {
      if (x.extent(axis) < 2) continue;
      repeated += x.stride(axis) == 0;
      turned += x.stride(axis) > last;
      last = x.stride(axis);
    }
  });
  CHECK(ranks.size() == max_rank + 1);
  for (const int count : {empty, single, contiguous, repeated, turned}) CHECK(count >= 5);
}
