// Values: what passes the sites of a model while it reads, as a file for other programs.
#pragma once

#include <filesystem>

#include "nn/model.hpp"

namespace phasor {

// Writes the file.npz: "ids" as they are, [windows, length], and for each site "layer0.q_rotated", "layer1.q_rotated",
// ...; those of no layer are "embedded" and "logits". Shapes and dtypes are those of nn/observer.hpp. UsageError,
// before the model reads, if it has no such site (q_far without a far rotation).
void write_values(const std::filesystem::path& path, const Transformer& model, const Tensor& ids,
                  const std::vector<Site>& sites);

}  // namespace phasor
