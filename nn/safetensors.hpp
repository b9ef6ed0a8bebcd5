// Safetensors: named tensors and text metadata in one file that other programs read too.
//
// Layout: header length (8 bytes, little endian), JSON header padded with spaces to a multiple of 8, the elements.
// Files written here also hold SHA-256 digests of the header and of every tensor in their metadata, under names that
// begin with "phasor.digest"; they are checked and taken out when such a file is read. Other files have none.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

struct TensorFile {
  std::vector<std::pair<std::string, Tensor>> tensors = {};  // in this order in the header
  std::map<std::string, std::string> metadata = {};
};

// Atomic (see nn/files.hpp). The same content gives the same bytes. ValueError for names that could not be read back:
// duplicates, "__metadata__", not UTF-8, with NUL or "../"; for metadata that begins with "phasor.digest".
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

// Row-major tensors. FileError names the file, the tensor and what is wrong; nothing is allocated for tensors before
// the whole header is found to be sound.
TensorFile read_safetensors(const std::filesystem::path& path);

// The same for bytes in memory; `path` is only for the messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::filesystem::path& path);

}  // namespace phasor
