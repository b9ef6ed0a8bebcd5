// NumPy's .npz: named arrays in one file (a zip of .npy files, numpy.lib.format version 1.0).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

struct NamedTensor {
  std::string name;  // of the array: "layer0.q_rotated"
  Tensor value;      // of any dtype and strides; written row-major
};

// Replaces `path` whole or not at all, as write_file_atomically does. Entries are stored, not compressed, in the given
// order; equal arrays give equal bytes. The file is put together in memory. ValueError unless there is an array, and
// the names are distinct, not empty and without '/'; ResourceError if it cannot be written.
void write_npz(const std::filesystem::path& path, const std::vector<NamedTensor>& arrays);

}  // namespace phasor
