// What the README shows is what the programs print: its own program, taken from it by the build, and those of the tour.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <regex>
#include <string>

#include "experiments/catalogue.hpp"
#include "tests/support/command.hpp"

using phasor::testing::text_of;
namespace fs = std::filesystem;

namespace {

struct Printed {
  std::string text;
  int status = -1;
};

Printed output_of(const std::string& program) {
  FILE* const pipe = popen(("'" + program + "'").c_str(), "r");
  REQUIRE(pipe != nullptr);
  Printed printed;
  std::array<char, 256> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    printed.text.append(buffer.data(), count);
  printed.status = pclose(pipe);
  return printed;
}

// The first block ``` ... ``` after `mark`.
std::string block_after(const std::string& readme, const std::string& mark) {
  const size_t start = readme.find(mark);
  REQUIRE_MESSAGE(start != std::string::npos, "the README does not hold ", mark);
  const size_t open = readme.find("\n```\n", start) + 5;
  return readme.substr(open, readme.find("```", open) - open);
}

}  // namespace

TEST_CASE("the README's program prints what the README says") {
  const std::string readme = text_of(PHASOR_SOURCE_DIR "/README.md");
  const size_t program = readme.find("```cpp\n");
  REQUIRE(program != std::string::npos);
  const std::string expected = block_after(readme.substr(readme.find("\n```\n", program) + 4), "");
  const Printed printed = output_of(PHASOR_README_PROGRAM);
  CHECK(printed.status == 0);
  CHECK(printed.text == expected);
  CHECK(printed.text.size() > 10);
}

TEST_CASE("the README's table of encodings is what the encodings say") {
  const std::string readme = text_of(PHASOR_SOURCE_DIR "/README.md");
  const std::string begin = "<!-- encodings: phasor list encodings --markdown -->\n", end = "<!-- end -->\n";
  const size_t table = readme.find(begin) + begin.size(), after = readme.find(end);
  REQUIRE_MESSAGE((readme.find(begin) != std::string::npos && after != std::string::npos && table <= after),
                  "the README needs the lines ", begin, "and ", end);
  const std::string there = readme.substr(table, after - table), now = phasor::encodings_markdown();
  const auto [differs, differs_now] = std::mismatch(there.begin(), there.end(), now.begin(), now.end());
  const size_t row = now.rfind('\n', static_cast<size_t>(differs_now - now.begin())) + 1;
  CHECK_MESSAGE((differs == there.end() && differs_now == now.end()), "the first row that differs should be\n",
                now.substr(row, now.find('\n', row) - row),
                "\nwrite the table again: ./phasor list encodings --markdown > table.md && sed -i "
                "-e '/^<!-- encodings/,/^<!-- end/{//!d}' -e '/^<!-- encodings/r table.md' README.md && rm table.md");
}

TEST_CASE("tour: eight short programs, each ends with a question and prints what the README says") {
  const std::string readme = text_of(PHASOR_SOURCE_DIR "/README.md");
  std::vector<fs::path> sources;
  for (const auto& entry : fs::directory_iterator(PHASOR_SOURCE_DIR "/experiments/tour")) sources.push_back(entry);
  std::sort(sources.begin(), sources.end());
  REQUIRE(sources.size() == 8);
  int number = 0;
  for (const fs::path& source : sources) {
    CAPTURE(source);
    const std::string text = text_of(source), name = source.stem();
    CHECK(std::count(text.begin(), text.end(), '\n') < 80);
    CHECK(text.starts_with("// " + std::to_string(++number) + ". "));
    // The question names a line to change, and only the end of main follows it.
    const size_t question = text.find("  // Question: ");
    REQUIRE(question != std::string::npos);
    CHECK(std::regex_match(text.substr(question), std::regex("(  // [^\n]*\n)+\\}\n")));
    CHECK(text.find("hange ", question) != std::string::npos);

    const Printed printed = output_of(PHASOR_TOUR "/" + name);
    CHECK(printed.status == 0);
    CHECK(printed.text == block_after(readme, "experiments/tour/" + name + ".cpp"));
    for (size_t start = 0; start < printed.text.size(); start = printed.text.find('\n', start) + 1)
      CHECK(printed.text.find('\n', start) - start <= 80);
  }
}
