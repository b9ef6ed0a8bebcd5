// The name is checked before anything is written; then the templates are copied with the name put in.
#include "experiments/new_encoding.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>

#include "core/error.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view template_name = "new_encoding";

// C++20's keywords and alternative tokens, two macros, and what the file calls something else.
constexpr std::string_view taken =
    " alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class "
    "co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype "
    "default "
    "delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long "
    "mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register "
    "reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor "
    "xor_eq assert errno make new_encoding ";

void check_name(const std::string& name) {
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool is_identifier = !name.empty() && is_lower(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return is_lower(c) || (c >= '0' && c <= '9') || c == '_';
  });
  require<UsageError>(is_identifier && name.find("__") == std::string::npos && name.size() <= 30, "new encoding", "'",
                      name,
                      "' cannot be its name; needs up to 30 small letters, digits and single underscores, a "
                      "letter first");
  require<UsageError>(taken.find(" " + name + " ") == taken.npos, "new encoding", "'", name,
                      "' means something else in C++ or in the file; needs another name");
}

std::string read_text(const fs::path& file) {
  const std::vector<std::byte> bytes = read_file(file);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Without the first line, which tells what the template is for.
std::string from_template(const fs::path& file, const std::string& name) {
  std::string text = read_text(file);
  text.erase(0, text.find('\n') + 1);
  for (size_t at = text.find(template_name); at != std::string::npos; at = text.find(template_name, at + name.size()))
    text.replace(at, template_name.size(), name);
  return text;
}

}  // namespace

fs::path source_tree(const std::vector<fs::path>& starts) {
  std::string looked;
  for (const fs::path& start : starts) {
    looked += (looked.empty() ? "" : " or ") + start.string();
    for (fs::path folder = start;; folder = folder.parent_path()) {
      std::ifstream build(folder / "CMakeLists.txt");
      std::ostringstream text;
      if (build) text << build.rdbuf();
      if (text.str().find("project(phasor ") != std::string::npos) return folder;
      if (folder == folder.parent_path()) break;
    }
  }
  fail<ResourceError>("source tree", "no CMakeLists.txt of Phasor in or above ", looked,
                      "; go to the folder with Phasor's sources");
}

NewEncoding write_new_encoding(const std::string& name, const fs::path& root) {
  check_name(name);
  const NewEncoding files = {fs::path("nn/positional/encodings") / (name + ".cpp"),
                             fs::path("tests/positional") / (name + "_test.cpp")};
  for (const fs::path& file : {files.encoding, files.test})
    require<UsageError>(!fs::exists(root / file), "new encoding", file.string(),
                        " is there already; needs another name");
  const std::string encoding = from_template(root / "nn/positional/new_encoding.cpp", name),
                    test = from_template(root / "tests/positional/new_encoding_test.cpp", name);
  write_file_atomically(root / files.test, test);
  try {
    write_file_atomically(root / files.encoding, encoding);
  } catch (...) {
    std::error_code ignored;
    fs::remove(root / files.test, ignored);
    throw;
  }
  return files;
}

}  // namespace phasor
