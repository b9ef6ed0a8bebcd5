// Corpus: a text as bytes. A token is a byte, or the one that starts every window: 257 in all.
//
// A window of length T at offset o of text b reads [bos, b[o], ..., b[o + T - 2]] and predicts [b[o], ..., b[o + T -
// 1]].
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

constexpr int32_t bos_token = 256;  // beginning of a window: the one id that no byte has
constexpr int64_t byte_vocabulary = 257;

struct Corpus {
  std::string name;
  std::string sha256;
  std::vector<uint8_t> bytes;
};

// What load_corpus takes, and a line about each.
const std::vector<std::pair<std::string, std::string>>& corpora();

// "kjv" or "file:PATH". UsageError for another name; FileError if the text is missing, unreadable, empty or not the
// one that the name promises.
Corpus load_corpus(const std::string& name);

// The King James text as Debian's `bible` prints it, without the verse numbers; prepared once and kept in the folder
// ${PHASOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/phasor}.
std::vector<uint8_t> load_kjv();

struct Split {
  std::span<const uint8_t> train, held_out;  // held out: the last 5 %, rounded down
};
Split split(const Corpus& corpus);

struct TokenWindows {
  Tensor inputs, targets;  // i32 [windows, length]
};

// `batch` windows at random offsets that depend on seed, step and the text's size alone.
TokenWindows training_batch(std::span<const uint8_t> text, int64_t batch, int64_t length, uint64_t seed, int64_t step);

// Consecutive windows without overlap from the start of the text, as many whole ones as fit into its first `bytes`
// bytes: every length reads the same bytes, as far as it divides them.
TokenWindows evaluation_windows(std::span<const uint8_t> text, int64_t length, int64_t bytes);

}  // namespace phasor
