// Texts by name, and their split.
#include "experiments/corpora/corpus.hpp"

#include "core/error.hpp"
#include "core/nearest_name.hpp"
#include "nn/files.hpp"

namespace phasor {

const std::vector<std::pair<std::string, std::string>>& corpora() {
  static const std::vector<std::pair<std::string, std::string>> list = {
      {"kjv", "King James Bible, 4.1 MB (Debian: bible-kjv, bible-kjv-text)"},
      {"file:PATH", "the bytes of a file, whatever they are"},
  };
  return list;
}

static std::vector<uint8_t> load_file(const std::string& path) {
  if (path.empty()) throw UsageError("corpus: 'file:' names no file; needs file:PATH");
  const std::vector<std::byte> bytes = read_file(path);
  if (bytes.empty()) throw FileError("corpus: '" + path + "' is empty; needs at least one window of text");
  const auto* const first = reinterpret_cast<const uint8_t*>(bytes.data());
  return {first, first + bytes.size()};
}

Corpus load_corpus(const std::string& name) {
  Corpus corpus;
  corpus.name = name;
  if (name == "kjv") {
    corpus.bytes = load_kjv();
  } else if (name.starts_with("file:")) {
    corpus.bytes = load_file(name.substr(5));
  } else {
    std::vector<std::string> names;
    for (const auto& [known, about] : corpora()) names.push_back(known);
    throw UsageError("corpus: " + unknown_name("corpus", name, names));
  }
  corpus.sha256 = sha256_hex(std::as_bytes(std::span(corpus.bytes)));
  return corpus;
}

}  // namespace phasor
