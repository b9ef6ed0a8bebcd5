// A text goes on: tokens drawn from a model, one after the other.
//
//   Generator generator(model, prompt);
//   Random random{.seed = 1};
//   for (int i = 0; i < 100; ++i) write(generator.next({.temperature = 0.8}, random));
#pragma once

#include <vector>

#include "core/random.hpp"
#include "nn/model.hpp"

namespace phasor {

struct Sampling {
  double temperature = 1;           // divides the logits: below 1 likely tokens gain; 0 takes the likeliest
  double top_p = 1;                 // in (0, 1]: of the likeliest tokens, the fewest that have this probability
  std::vector<int32_t> never = {};  // tokens that are not to come, as if the model did not know them
};

// A token drawn by softmax(logits / temperature), logits [vocabulary], computed in double: among the tokens that may
// come, in the order of falling probability (equal ones: the lower first), the shortest front part whose probability
// reaches top_p, at least one, and each of it by its share (nucleus sampling: Holtzman et al., arXiv:1904.09751).
// Temperature 0 takes the first in that order. It draws one number, or none at temperature 0.
// ValueError for a temperature that is negative or not finite, top_p outside (0, 1], or `never` that leaves no token
// or names one outside the vocabulary; NumericError if a logit is not finite.
int64_t sample(const Tensor& logits, const Sampling& sampling, Random& random);

// How many tokens a Generator reads at once, of a text of `length` tokens of which `held` are in its cache: a piece, so
// that memory grows with the length and not with its square, or all the rest where a piece would be read with other
// tables than the whole text.
int64_t tokens_at_once(const PositionalEncoding& encoding, int64_t held, int64_t length);

// A text, batch 1, and what the model has read of it. Each token is read once, with a cache; where the encoding's
// tables change with the length of the text (PositionalEncoding::same_tables), the whole text is read again.
class Generator {
 public:
  // The model must outlive it. ShapeError if the prompt is empty: there is nothing to read.
  Generator(const Transformer& model, std::vector<int32_t> prompt);

  // Of the token that comes after the text, [vocabulary]: those of reading the text at once, rounding apart.
  Tensor logits();
  // Draws it, and the text is one longer.
  int32_t next(const Sampling& sampling, Random& random);

  const std::vector<int32_t>& text() const { return text_; }  // prompt and what was drawn

 private:
  const Transformer& model_;
  std::vector<int32_t> text_;
  KeyValueCache cache_;
  Tensor last_logits_;  // after the tokens in the cache
};

}  // namespace phasor
