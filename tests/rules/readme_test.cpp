// The README's program is compiled from the README; what it prints must stand below it there.
#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <string>

#include "tests/support/command.hpp"

using phasor::testing::text_of;

TEST_CASE("the README's program prints what the README says") {
  const std::string readme = text_of(PHASOR_SOURCE_DIR "/README.md");
  const size_t program = readme.find("```cpp\n");
  REQUIRE(program != std::string::npos);
  const size_t open = readme.find("```\n", readme.find("\n```\n", program) + 5) + 4;
  const std::string expected = readme.substr(open, readme.find("```", open) - open);

  FILE* const pipe = popen("'" PHASOR_README_PROGRAM "'", "r");
  REQUIRE(pipe != nullptr);
  std::string printed;
  std::array<char, 256> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) printed.append(buffer.data(), count);
  CHECK(pclose(pipe) == 0);
  CHECK(printed == expected);
  CHECK(printed.size() > 10);
}
