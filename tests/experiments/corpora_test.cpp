// Corpora: the King James text is the promised one, files are taken as they are, windows are cut where they should be.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <set>

#include "core/error.hpp"
#include "experiments/corpora/corpus.hpp"
#include "tests/support/command.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

// Sets an environment variable for as long as it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() {
    if (before_)
      setenv(name_, before_->c_str(), 1);
    else
      unsetenv(name_);
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::vector<uint8_t> counting_bytes(size_t n) {
  std::vector<uint8_t> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

}  // namespace

TEST_CASE("corpora: kjv is the promised text, is kept, and is prepared anew when the kept file is damaged") {
  const TemporaryFolder folder;
  const Variable cache("PHASOR_CACHE", folder / "a b");
  const Corpus corpus = load_corpus("kjv");
  CHECK(corpus.name == "kjv");
  CHECK(corpus.sha256 == "b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d");
  CHECK(corpus.bytes.size() == 4137850);
  const std::string first = "In the beginning God created the heaven and the earth.\n";
  CHECK(std::string(corpus.bytes.begin(), corpus.bytes.begin() + static_cast<long>(first.size())) == first);

  const std::filesystem::path file = folder / "a b/kjv.txt";
  std::string kept = text_of(file);
  CHECK(kept == std::string(corpus.bytes.begin(), corpus.bytes.end()));
  SUBCASE("truncated") { kept.pop_back(); }
  SUBCASE("changed") { kept[1000000] ^= 1; }
  write_text(file, kept);
  CHECK(load_corpus("kjv").bytes == corpus.bytes);
  CHECK(text_of(file) == std::string(corpus.bytes.begin(), corpus.bytes.end()));
  {
    // The kept file serves alone.
    const Variable path("PATH", folder / "nothing");
    CHECK(load_corpus("kjv").bytes == corpus.bytes);
  }
}

TEST_CASE("corpora: kjv without a program that prints it") {
  const TemporaryFolder folder;
  const Variable cache("PHASOR_CACHE", folder / "cache");
  const Variable path("PATH", folder.path());
  CHECK_THROWS_WITH_AS(
      load_corpus("kjv"),
      "corpus kjv: there is no program 'bible'; needs the Debian packages bible-kjv and bible-kjv-text", FileError);
  write_text(folder / "bible", "#!/bin/sh\necho 'Gen1:1 In the end'\n");
  chmod((folder / "bible").c_str(), 0700);
  CHECK_THROWS_WITH_AS(load_corpus("kjv"), doctest::Contains("'bible' printed another text: 11 bytes, sha256 "),
                       FileError);
  CHECK_FALSE(std::filesystem::exists(folder / "cache/kjv.txt"));
}

TEST_CASE("corpora: kjv is loaded also where it cannot be kept") {
  const TemporaryFolder folder;
  write_text(folder / "file", "");
  const Variable cache("PHASOR_CACHE", folder / "file/below");
  CHECK(load_corpus("kjv").bytes.size() == 4137850);
}

TEST_CASE("corpora: a file is taken byte for byte") {
  const TemporaryFolder folder;
  const std::string hostile(
      "\xef\xbb\xbf"
      "a\r\n\0\xff\xfe\n\n",
      11);
  write_text(folder / "a b\nc", hostile);
  const Corpus corpus = load_corpus("file:" + (folder / "a b\nc").string());
  CHECK(std::string(corpus.bytes.begin(), corpus.bytes.end()) == hostile);
  CHECK(corpus.sha256.size() == 64);
}

TEST_CASE("corpora: a file that cannot be used is refused by its path") {
  const TemporaryFolder folder;
  const std::string empty = folder / "empty";
  write_text(empty, "");
  CHECK_THROWS_WITH_AS(load_corpus("file:" + empty),
                       ("corpus: '" + empty + "' is empty; needs at least one window of text").c_str(), FileError);
  CHECK_THROWS_WITH_AS(load_corpus("file:" + folder.path().string()),
                       doctest::Contains("it is a folder; a file is needed"), FileError);
  CHECK_THROWS_WITH_AS(load_corpus("file:" + (folder / "none").string()),
                       doctest::Contains("none': No such file or directory"), FileError);
  if (geteuid() != 0) {  // root reads everything
    chmod(empty.c_str(), 0);
    CHECK_THROWS_WITH_AS(load_corpus("file:" + empty), doctest::Contains("Permission denied"), FileError);
  }
  CHECK_THROWS_WITH_AS(load_corpus("file:"), "corpus: 'file:' names no file; needs file:PATH", UsageError);
  CHECK_THROWS_WITH_AS(load_corpus("kjb"), "corpus: no corpus named 'kjb'; did you mean 'kjv'?; known: kjv, file:PATH",
                       UsageError);
}

TEST_CASE("corpora: the last twentieth is held out") {
  const Corpus corpus{.name = "", .sha256 = "", .bytes = counting_bytes(119)};
  const Split parts = split(corpus);
  CHECK(parts.train.size() == 114);
  CHECK(parts.held_out.size() == 5);
  CHECK(parts.train.data() == corpus.bytes.data());
  CHECK(parts.held_out.data() == corpus.bytes.data() + 114);
}

TEST_CASE("windows: evaluation reads the same bytes at every length, shifted by the token that starts a window") {
  const std::vector<uint8_t> text = counting_bytes(23);
  const TokenWindows windows = evaluation_windows(text, 4, 14);
  REQUIRE(windows.inputs.shape() == Shape{3, 4});  // bytes 12 and 13 do not fill a window
  REQUIRE(windows.targets.shape() == Shape{3, 4});
  CHECK(windows.inputs.to_vector<int32_t>() == std::vector<int32_t>{256, 0, 1, 2, 256, 4, 5, 6, 256, 8, 9, 10});
  CHECK(windows.targets.to_vector<int32_t>() == std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(evaluation_windows(text, 4, 1000).inputs.extent(0) == 5);  // no more than there are
  CHECK(evaluation_windows(text, 23, 23).inputs.extent(0) == 1);
}

TEST_CASE("windows: a training window is a piece of the text, any piece, and the same for the same seed and step") {
  const std::vector<uint8_t> text = counting_bytes(40);
  const int64_t batch = 16, length = 5;
  std::set<int32_t> offsets;
  for (int64_t step = 0; step < 50; ++step) {
    const TokenWindows windows = training_batch(text, batch, length, 3, step);
    REQUIRE(windows.inputs.shape() == Shape{batch, length});
    const View<int32_t> inputs = windows.inputs.view<int32_t>(), targets = windows.targets.view<int32_t>();
    for (int64_t window = 0; window < batch; ++window) {
      const int32_t offset = targets(window, 0);
      offsets.insert(offset);
      CHECK(inputs(window, 0) == 256);
      for (int64_t i = 0; i < length; ++i) CHECK(targets(window, i) == offset + i);
      for (int64_t i = 1; i < length; ++i) CHECK(inputs(window, i) == offset + i - 1);
    }
  }
  // 800 draws miss one of the 36 offsets with probability 36 * (35/36)^800 < 1e-8, and the seed is fixed.
  CHECK(offsets.size() == 36);
  CHECK(*offsets.rbegin() == 35);

  const auto targets = [&](uint64_t seed, int64_t step) {
    return training_batch(text, batch, length, seed, step).targets.to_vector<int32_t>();
  };
  CHECK(targets(3, 7) == targets(3, 7));
  CHECK(targets(3, 7) != targets(3, 8));
  CHECK(targets(3, 7) != targets(4, 7));
  CHECK(targets(3, int64_t{1} << 40) != targets(3, 0));  // the counter has 64 bits
}

TEST_CASE("windows: a text shorter than one is refused with both numbers") {
  const std::vector<uint8_t> text = counting_bytes(23);
  CHECK_THROWS_WITH_AS(training_batch(text, 1, 24, 1, 0),
                       "corpus: the training text has 23 bytes; needs at least 24 for one window", FileError);
  CHECK_THROWS_WITH_AS(evaluation_windows(text, 24, 100),
                       "corpus: the held-out text has 23 bytes; needs at least 24 for one window", FileError);
  CHECK(training_batch(text, 1, 23, 1, 0).inputs.extent(0) == 1);
}
