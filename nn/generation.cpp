// Sampling, and reading on with a cache.
#include "nn/generation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/allocator.hpp"

namespace phasor {

int64_t sample(const Tensor& logits, const Sampling& s, Random& random) {
  const char* const op = "sample";
  require(logits.rank() == 1, op, "logits are ", logits.shape(), "; expected [vocabulary]");
  require<ValueError>(s.temperature >= 0 && std::isfinite(s.temperature), op, "temperature is ", s.temperature,
                      "; needs a finite number of at least 0");
  require<ValueError>(s.top_p > 0 && s.top_p <= 1, op, "top_p is ", s.top_p, "; needs a number above 0, up to 1");
  const std::vector<double> score = logits.to(Dtype::f64).to_vector<double>();
  std::vector<bool> may_come(score.size(), true);
  for (const int32_t token : s.never) {
    require<ValueError>(token >= 0 && token < logits.size(), op, "token ", token, " is never to come; there are 0 to ",
                        logits.size() - 1);
    may_come[static_cast<size_t>(token)] = false;
  }
  std::vector<size_t> order;
  for (size_t token = 0; token < score.size(); ++token) {
    require<NumericError>(std::isfinite(score[token]), op, "the logit of token ", token, " is ", score[token]);
    if (may_come[token]) order.push_back(token);
  }
  require<ValueError>(!order.empty(), op, "of ", logits.size(), " tokens none may come; needs at least one");
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score[a] > score[b]; });
  if (s.temperature == 0) return static_cast<int64_t>(order[0]);

  std::vector<double> weight;  // probabilities, but for a common factor; the first is 1
  double total = 0;
  for (const size_t token : order) {
    weight.push_back(std::exp((score[token] - score[order[0]]) / s.temperature));
    total += weight.back();
  }
  size_t kept = 0;
  double mass = 0;  // sums as `total` did, so that top_p = 1 reaches it
  while (mass < s.top_p * total) mass += weight[kept++];
  double left = random.uniform() * mass;
  size_t drawn = 0;
  while (drawn + 1 < kept && left >= weight[drawn]) left -= weight[drawn++];
  return static_cast<int64_t>(order[drawn]);
}

int64_t tokens_at_once(const PositionalEncoding& encoding, int64_t held, int64_t length) {
  constexpr int64_t piece = 256;  // as fast as longer ones, and little beside the cache
  const int64_t end = std::min(held + piece, length);
  return encoding.same_tables(end, length) ? end - held : length - held;
}

Generator::Generator(const Transformer& model, std::vector<int32_t> prompt) : model_(model), text_(std::move(prompt)) {
  require(!text_.empty(), "generator", "the prompt is empty; needs at least one token to read");
}

Tensor Generator::logits() {
  const NoGradient scope;
  const auto length = static_cast<int64_t>(text_.size());
  if (cache_.length() == length) return last_logits_;
  if (!model_.encoding().same_tables(cache_.length(), length)) cache_.clear();
  while (cache_.length() < length) {
    // The blocks of the piece before are too small for what grows with the length: in the pool they would only add up.
    if (cache_.length() > 0 && length - cache_.length() > 1) release_cached_memory();
    const int64_t held = cache_.length(), count = tokens_at_once(model_.encoding(), held, length);
    const Tensor ids = Tensor::empty({1, count}, Dtype::i32);
    std::copy_n(text_.begin() + held, count, ids.data<int32_t>());
    last_logits_ = model_.logits(ids, {.cache = &cache_, .last_only = true}).value().select(0, 0).select(0, 0);
  }
  return last_logits_;
}

int32_t Generator::next(const Sampling& sampling, Random& random) {
  text_.push_back(static_cast<int32_t>(sample(logits(), sampling, random)));
  return text_.back();
}

}  // namespace phasor
