// `phasor new encoding`: in a tree of its own, with the real templates. That what it writes builds and passes is tested
// with the templates themselves, which are built like all sources.
#include "experiments/new_encoding.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>

#include "core/error.hpp"
#include "nn/positional/encoding.hpp"
#include "tests/support/command.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

constexpr const char* sources[] = {"CMakeLists.txt", "nn/positional/new_encoding.cpp",
                                   "tests/positional/new_encoding_test.cpp"};

// A source tree with the templates and nothing else.
struct Tree {
  TemporaryFolder folder;
  fs::path root = folder.path();

  Tree() {
    fs::create_directories(root / "nn/positional/encodings");
    fs::create_directories(root / "tests/positional");
    for (const char* file : sources) fs::copy_file(fs::path(PHASOR_SOURCE_DIR) / file, root / file);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(root))
      if (entry.is_regular_file()) found.push_back(fs::relative(entry.path(), root));
    return found;
  }
};

std::string without_first_line(const std::string& text) { return text.substr(text.find('\n') + 1); }

std::string renamed(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

}  // namespace

TEST_CASE("new encoding: two files, which are the templates under its name") {
  const Tree tree;
  const NewEncoding written = write_new_encoding("half_turn2", tree.root);
  CHECK(written.encoding == "nn/positional/encodings/half_turn2.cpp");
  CHECK(written.test == "tests/positional/half_turn2_test.cpp");
  CHECK(tree.files().size() == 5);
  const std::string encoding = text_of(tree.root / written.encoding), test = text_of(tree.root / written.test);
  CHECK(renamed(encoding, "half_turn2", "new_encoding") == without_first_line(text_of(tree.root / sources[1])));
  CHECK(renamed(test, "half_turn2", "new_encoding") == without_first_line(text_of(tree.root / sources[2])));
  CHECK(encoding.starts_with("// half_turn2: "));
  CHECK(encoding.find("\nEncodingEntry half_turn2() {\n") != std::string::npos);
  CHECK(test.find("TEST_CASE(\"half_turn2: ") != std::string::npos);
  for (const std::string& text : {encoding, test}) CHECK(text.find("emplate") == std::string::npos);
}

TEST_CASE("new encoding: names that cannot be, and files that are there, are refused before anything is written") {
  const Tree tree;
  for (const char* name :
       {"", "2d", "_x", "Rope", "a-b", "a b", "../x", "a.b", "x__y", "\xc3\xa4", "a_name_of_more_than_thirty_letters"})
    CHECK_THROWS_WITH_AS(write_new_encoding(name, tree.root), doctest::Contains("cannot be its name; needs"),
                         UsageError);
  for (const char* name : {"double", "not_eq", "co_await", "make", "new_encoding", "assert"})
    CHECK_THROWS_WITH_AS(write_new_encoding(name, tree.root), doctest::Contains("means something else"), UsageError);
  write_text(tree.root / "nn/positional/encodings/first.cpp", "");
  CHECK_THROWS_WITH_AS(write_new_encoding("first", tree.root),
                       doctest::Contains("nn/positional/encodings/first.cpp is there already"), UsageError);
  write_text(tree.root / "tests/positional/second_test.cpp", "");
  CHECK_THROWS_WITH_AS(write_new_encoding("second", tree.root),
                       doctest::Contains("tests/positional/second_test.cpp is there already"), UsageError);
  CHECK(tree.files().size() == 5);
}

TEST_CASE("new encoding: both files or none") {
  const Tree tree;
  fs::rename(tree.root / sources[2], tree.root / "kept");
  CHECK_THROWS_AS(write_new_encoding("mine", tree.root), FileError);  // a template is missing
  CHECK(tree.files().size() == 3);
  fs::rename(tree.root / "kept", tree.root / sources[2]);

  // The test still fits under this limit, the encoding does not any more: as on a disk that fills up between the two.
  const uintmax_t encoding = fs::file_size(tree.root / sources[1]), test = fs::file_size(tree.root / sources[2]);
  REQUIRE(test < encoding - 200);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit low = before;
  low.rlim_cur = test;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &low);
  std::string refused;
  try {
    write_new_encoding("mine", tree.root);
  } catch (const ResourceError& error) {
    refused = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(refused.find("encodings/mine.cpp") != std::string::npos);
  CHECK(tree.files().size() == 3);
}

TEST_CASE("new encoding: the source tree is the nearest folder with Phasor's build file, or else that of the program") {
  const Tree tree;
  const fs::path inner = tree.root / "nn/positional";
  CHECK(source_tree({tree.root}) == tree.root);
  CHECK(source_tree({inner, "/"}) == tree.root);
  CHECK(source_tree({"/", inner / "a file"}) == tree.root);
  CHECK(source_tree({inner, PHASOR_SOURCE_DIR}) == tree.root);
  write_text(tree.root / "nn/CMakeLists.txt", "project(other CXX)\n");  // of something else
  CHECK(source_tree({inner}) == tree.root);
  const TemporaryFolder elsewhere;
  CHECK_THROWS_WITH_AS(source_tree({elsewhere.path(), "/usr"}),
                       doctest::Contains(("source tree: no CMakeLists.txt of Phasor in or above " +
                                          elsewhere.path().string() + " or /usr; go to the folder")
                                             .c_str()),
                       ResourceError);
}

TEST_CASE("new encoding: the template is not an encoding itself, and has a name that no encoding can take") {
  for (const auto& [name, entry] : encodings()) CHECK(name != "new_encoding");
}
