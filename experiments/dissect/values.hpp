// Values: what passes the sites of a model while it reads, as a file for other programs.
#pragma once

#include <filesystem>

#include "nn/model.hpp"

namespace phasor {

// UsageError unless a model with this encoding has the sites: q_far and k_far need a far rotation.
void require_sites(const PositionalEncoding& encoding, const std::string& name, const std::vector<Site>& sites);

// Writes the file.npz: "ids" as they are, [windows, length], and for each site "layer0.q_rotated", "layer1.q_rotated",
// ...; those of no layer are "embedded" and "logits". Shapes and dtypes are those of nn/observer.hpp. Errors, before
// the model reads: those of require_sites().
void write_values(const std::filesystem::path& path, const Transformer& model, const Tensor& ids,
                  const std::vector<Site>& sites);

}  // namespace phasor
