// The King James text. Debian ships it inside a program, so it is printed once, checked, and kept as a plain file.
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/error.hpp"
#include "experiments/corpora/corpus.hpp"
#include "nn/files.hpp"

namespace phasor {

constexpr size_t kjv_bytes = 4137850;
constexpr const char* kjv_sha256 = "b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d";

static bool is_kjv(std::span<const std::byte> text) {
  return text.size() == kjv_bytes && sha256_hex(text) == kjv_sha256;
}

// Empty if the environment names none.
static std::filesystem::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::filesystem::path(value ? value : "");
  };
  if (const auto folder = variable("PHASOR_CACHE"); !folder.empty()) return folder;
  if (const auto folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder / "phasor";
  if (const auto folder = variable("HOME"); !folder.empty()) return folder / ".cache" / "phasor";
  return {};
}

// A line is "Gen1:1 In the beginning ...": drops everything up to and including its first blank.
static std::vector<std::byte> without_verse_numbers(const std::string& printed) {
  std::vector<std::byte> text;
  text.reserve(printed.size());
  for (size_t start = 0; start < printed.size();) {
    const size_t newline = printed.find('\n', start);
    const size_t stop = newline == std::string::npos ? printed.size() : newline + 1;
    const size_t blank = printed.find(' ', start);
    for (size_t i = blank < stop ? blank + 1 : start; i < stop; ++i) text.push_back(static_cast<std::byte>(printed[i]));
    start = stop;
  }
  return text;
}

static std::vector<std::byte> print_kjv() {
  const std::string packages = "; needs the Debian packages bible-kjv and bible-kjv-text";
  std::string printed;
  FILE* const pipe = popen("bible -f 'Gen1:1-Rev22:21' 2>/dev/null", "r");
  if (!pipe) throw ResourceError("corpus kjv: cannot start a process to run 'bible'");
  char block[1 << 16];
  for (size_t n; (n = std::fread(block, 1, sizeof block, pipe)) > 0;) printed.append(block, n);
  const int status = pclose(pipe);
  constexpr int not_found_by_the_shell = 127;
  if (WIFEXITED(status) && WEXITSTATUS(status) == not_found_by_the_shell) {
    throw FileError("corpus kjv: there is no program 'bible'" + packages);
  }
  std::vector<std::byte> text = without_verse_numbers(printed);
  if (!is_kjv(text)) {
    throw FileError("corpus kjv: 'bible' printed another text: " + std::to_string(text.size()) + " bytes, sha256 " +
                    sha256_hex(text) + "; expected " + std::to_string(kjv_bytes) + " bytes, sha256 " + kjv_sha256 +
                    packages);
  }
  return text;
}

static std::vector<std::byte> load_or_print() {
  const std::filesystem::path folder = cache_folder(), path = folder / "kjv.txt";
  std::error_code ignored;
  if (folder.empty()) {
    std::fprintf(stderr, "note: corpus kjv is not kept: PHASOR_CACHE, XDG_CACHE_HOME and HOME name no folder\n");
    return print_kjv();
  }
  if (std::filesystem::exists(path, ignored)) {
    try {
      std::vector<std::byte> text = read_file(path);
      if (is_kjv(text)) return text;
      std::fprintf(stderr, "note: corpus kjv: '%s' is damaged (%zu bytes, not the expected text); prepared anew\n",
                   path.c_str(), text.size());
    } catch (const FileError& error) {
      std::fprintf(stderr, "note: corpus kjv: %s; prepared anew\n", error.what());
    }
  }
  std::vector<std::byte> text = print_kjv();
  // Keeping it saves a fraction of a second: a folder that cannot be written stops nobody.
  try {
    std::filesystem::create_directories(path.parent_path(), ignored);
    write_file_atomically(path, text);
  } catch (const ResourceError& error) {
    std::fprintf(stderr, "note: corpus kjv is not kept: %s\n", error.what());
  }
  return text;
}

std::vector<uint8_t> load_kjv() {
  const std::vector<std::byte> text = load_or_print();
  const auto* const first = reinterpret_cast<const uint8_t*>(text.data());
  return {first, first + text.size()};
}

}  // namespace phasor
