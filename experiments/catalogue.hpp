// The catalogue of encodings: what each does, where it is from, and how sure that is. Taken from the entries of
// nn/positional/encodings/ and from the parts that they make, so that a new file is in it without further ado.
#pragma once

#include <string>
#include <vector>

#include "nn/positional/encoding.hpp"

namespace phasor {

// The parts that the encoding fills, such as "learned rotation, bias of distances", or "none". A part is learned if
// what it gives needs a gradient.
std::string mechanism(const EncodingEntry& entry);

// The settings encoding.* that change what the parts give, by trying them; `encoding.layout`, which changes no encoding
// but the pairs of channels, is left out.
std::vector<std::string> settings_read(const EncodingEntry& entry);

// What `phasor list --why NAME` prints, within 80 columns. UsageError with the nearest name if there is none.
std::string encoding_sheet(const std::string& name);

// The README's table, a row for each encoding.
std::string encodings_markdown();

}  // namespace phasor
