// The header of a safetensors file: its grammar and the checks that make it safe to allocate and copy by it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.hpp"
#include "core/error.hpp"
#include "core/shape.hpp"

namespace phasor::safetensors {

constexpr uint64_t max_header_bytes = 100'000'000;  // the format's own bound

// Several keys, and each alone demands all the others: damage to one of them must not turn the file into one without
// digests.
inline const std::string digest_marker = "phasor.digest";
inline const std::string header_digest_key = "phasor.digest.header";
inline const std::string tensor_digest_prefix = "phasor.digest.tensor.";

struct Entry {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  uint64_t begin = 0;  // bytes from the end of the header
  uint64_t end = 0;
};

struct Header {
  std::vector<Entry> entries;  // in the order of the header
  std::map<std::string, std::string> metadata;
};

template <class... Parts>
[[noreturn]] void refuse(const std::filesystem::path& path, const Parts&... parts) {
  fail<FileError>("read_safetensors", "'", path.string(), "': ", parts...);
}

// Text from a file as it may stand in a message of one line: quoted, escaped, not longer than some 200 characters.
std::string shown(const std::string& text);

std::string name_of(Dtype dtype);                 // F32
std::string name_fault(const std::string& name);  // what is wrong with a tensor's name, or ""

// Grammar: one JSON object of known keys and types, nothing twice, bounded depth. FileError otherwise.
Header parse_header(std::string_view text, const std::filesystem::path& path);

// Arithmetic: every shape fits its bytes, and the tensors fill `data_bytes` without hole or overlap. FileError
// otherwise.
void check_layout(const Header& header, uint64_t data_bytes, const std::filesystem::path& path);

}  // namespace phasor::safetensors
