// Constants come out as they are written: GCC 12 with AVX-512 repeated the first words of some that end in zeros (see
// CMakeLists.txt).
#include <doctest/doctest.h>

#include <vector>

namespace {

// Digits from the right. Not inlined: the constants are made in memory, as for a function of another file.
template <class T>
__attribute__((noinline)) double number_of(const std::vector<T>& digits) {
  double number = 0, weight = 1;
  for (const T digit : digits) number += weight * static_cast<double>(digit), weight *= 10;
  return number;
}

}  // namespace

TEST_CASE("compiler: constants of 32 and 64 bytes that end in zeros") {
  CHECK(number_of<double>({0.5, 0.5, 0, 0}) == 5.5);
  CHECK(number_of<double>({0.25, 0.25, 0.25, 0}) == 27.75);
  CHECK(number_of<double>({2, 2, 0, 0, 0, 0, 0, 0}) == 22);
  CHECK(number_of<double>({3, 3, 3, 3, 3, 0, 0, 0}) == 33333);
  CHECK(number_of<int>({3, 3, 3, 3, 0, 0, 0, 0}) == 3333);
  CHECK(number_of<int>({1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) == 101);
}
