// The transformer: checks of its shape, construction, forward.
#include "nn/model.hpp"

#include <cmath>
#include <utility>

#include "autograd/device.hpp"

namespace phasor {

AttentionShape ModelShape::attention(uint64_t seed) const {
  require<UsageError>(vocabulary >= 1 && width >= 1 && layers >= 1 && heads >= 1 && hidden >= 1 && kv_heads >= 0,
                      "model", "vocabulary ", vocabulary, ", width ", width, ", layers ", layers, ", heads ", heads,
                      ", hidden ", hidden, ", kv_heads ", kv_heads, "; each must be at least 1, kv_heads 0 or more");
  require<UsageError>(width % heads == 0, "model", "heads do not divide width: width ", width, " / heads ", heads,
                      " is not a whole number");
  const int64_t groups = kv_heads == 0 ? heads : kv_heads;
  require<UsageError>(heads % groups == 0, "model", "kv_heads do not divide heads: heads ", heads, " / kv_heads ",
                      groups, " is not a whole number");
  return {.layers = layers,
          .width = width,
          .heads = heads,
          .kv_heads = groups,
          .head_dim = width / heads,
          .train_length = train_length,
          .rope_base = rope_base,
          .fraction = fraction,
          .factor = factor,
          .short_factors = short_factors,
          .long_factors = long_factors,
          .formulas = formulas,
          .seed = seed,
          .init_deviation = init_deviation,
          .dtype = dtype,
          .layout = layout};
}

static double residual_deviation(const ModelShape& s) {
  return s.init == InitKind::normal ? s.init_deviation
                                    : s.init_deviation / std::sqrt(2 * static_cast<double>(s.layers));
}

Block::Block(const std::string& name, const ModelShape& s, Build build)
    : attention_norm(name + ".attention_norm", s.norm, s.width, build),
      attention(name + ".attention", s.attention(build.random.seed), s.layout, build, residual_deviation(s)),
      mlp_norm(name + ".mlp_norm", s.norm, s.width, build),
      mlp(name + ".mlp", s.mlp, s.width, s.hidden, build, residual_deviation(s)) {}

Var Block::operator()(const Var& x, int64_t layer, const AttentionPass& pass) const {
  const Var middle = attention.out.onto(x, attention.read(attention_norm(x), layer, pass));
  const Var hidden = mlp.hidden(mlp_norm(middle));
  const Place mlp_out = {Site::mlp_out, layer};
  const Var after = pass.observer && pass.observer->wants(mlp_out.site)
                        ? middle + observed(pass.observer, mlp_out, mlp.down(hidden))
                        : mlp.down.onto(middle, hidden);
  return observed(pass.observer, {Site::residual, layer}, after);
}

static Build build_of(const ModelShape& s, ParameterList& parameters, Random& random) {
  return {parameters, random, s.dtype, s.init_deviation, s.bias};
}

static std::vector<Block> blocks_of(const ModelShape& shape, Build build) {
  std::vector<Block> blocks;
  blocks.reserve(static_cast<size_t>(shape.layers));
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    blocks.emplace_back("block." + std::to_string(layer), shape, build);
  return blocks;
}

static std::optional<Linear> head_of(const ModelShape& s, Build build) {
  if (s.head == HeadKind::tied) return {};
  build.bias = LinearBias::no;
  return Linear("head", s.width, s.vocabulary, build);
}

Transformer::Transformer(const ModelShape& shape, uint64_t seed)
    : Transformer(shape, seed, encoding_named(shape.encoding)) {}

Transformer::Transformer(const ModelShape& shape, uint64_t seed, const EncodingEntry& encoding)
    : Transformer(shape, Random{.seed = seed}, encoding) {}

Transformer::Transformer(const ModelShape& shape, Random random, const EncodingEntry& encoding)
    : shape_((shape.attention(random.seed), shape)),  // checked before anything is allocated
      embedding_("embedding", shape.vocabulary, shape.width, build_of(shape, parameters_, random)),
      blocks_(blocks_of(shape, build_of(shape, parameters_, random))),
      final_norm_("final_norm", shape.norm, shape.width, build_of(shape, parameters_, random)),
      head_(head_of(shape, build_of(shape, parameters_, random))) {
  ParameterList learned;
  encoding_ = make_encoding(encoding, shape.attention(random.seed), learned);
  parameters_.append("encoding.", learned);
}

Transformer Transformer::with_encoding(const PositionalEncoding& encoding) const {
  Transformer other = *this;
  other.encoding_ = encoding;
  return other;
}

// Everything that is the same in every layer.
AttentionPass Transformer::pass_for(const Tensor& ids, const ForwardOptions& options) const {
  const char* const op = "transformer";
  require(ids.rank() == 2, op, "ids are ", ids.shape(), "; expected [batch, length]");
  const int64_t batch = ids.extent(0), length = ids.extent(1);
  KeyValueCache* const cache = options.cache;
  AttentionPass pass;
  pass.encoding = &encoding_;
  pass.options = {.scale = {}, .causal = Causal::yes, .segments = options.segments};
  pass.unfused = encoding_.why_unfused() || (options.observer && options.observer->wants_scores());
  pass.observer = options.observer;
  pass.cache = cache;

  const Tensor& segments = options.segments;
  if (segments.defined()) {
    require<DtypeError>(segments.dtype() == Dtype::i32 || segments.dtype() == Dtype::i64, op,
                        "segments: needs i32 or i64, got ", segments.dtype());
    require(segments.rank() == 2 && (segments.extent(0) == 1 || segments.extent(0) == batch) &&
                segments.extent(1) == length,
            op, "segments are ", segments.shape(), ", ids are ", ids.shape(), "; expected [batch or 1, length]");
  }
  Tensor positions = options.positions.defined()
                         ? options.positions.to(Device::cpu).to(Dtype::f64)
                         : consecutive_positions(length, cache ? static_cast<double>(cache->length()) : 0);
  require(positions.rank() == 2 && (positions.extent(0) == 1 || positions.extent(0) == batch) &&
              positions.extent(1) == length,
          op, "positions are ", positions.shape(), ", ids are ", ids.shape(), "; expected [batch or 1, length]");
  pass.k_positions = positions;
  if (cache) {
    require<UsageError>(!segments.defined(), op, "segments and a cache do not go together");
    if (cache->length_ == 0) {  // what a pass that failed has left is not kept
      cache->layers_.clear();
      cache->layers_.resize(blocks_.size());
      cache->positions_ = {};
      cache->batch_ = batch;
      cache->model_ = embedding_.weight.node();
    }
    require<UsageError>(cache->model_ == embedding_.weight.node(), op, "the cache holds ", cache->length_,
                        " tokens that another model has read");
    require(cache->batch_ == batch, op, "ids are ", ids.shape(), ", the cache holds a batch of ", cache->batch_);
    const int64_t now = cache->length_ + length;
    require<UsageError>(cache->length_ == 0 || encoding_.same_tables(cache->length_, now), op,
                        "the encoding's tables depend on the current length: the keys in the cache are turned by those "
                        "of ",
                        cache->length_, " tokens, not of ", now, "; clear it and read the whole text again");
    positions = positions.broadcast_to({batch, length});  // as those held: later ones may differ between the rows
    pass.k_positions = cache->positions_.append(cache->length_, positions, 1);
  }

  PositionalContext& context = pass.context;
  context.heads = shape_.heads;
  context.kv_heads = shape_.kv_heads == 0 ? shape_.heads : shape_.kv_heads;
  context.q_positions = context.k_positions = positions;
  context.current_length = pass.k_positions.extent(1);
  context.train_length = shape_.train_length;
  context.q = Tensor::empty({0, 0, 0, 0}, shape_.dtype);  // tells the tables' dtype
  const auto shared_tables = [&](const std::optional<PositionalEncoding::Rotation>& rotation) {
    if (!rotation || !rotation->same_in_every_layer) return std::optional<RotaryTables>();
    RotaryTables tables = rotation->tables(context);
    // Once, not in every layer.
    for (Var* const table : {&tables.q_cos, &tables.q_sin, &tables.k_cos, &tables.k_sin}) *table = on(device(), *table);
    return std::optional(tables);
  };
  pass.tables = shared_tables(encoding_.rotation);
  pass.far = shared_tables(encoding_.far_rotation);
  if (encoding_.bias_of_positions || encoding_.transform)
    context.visible = visible_pairs(length, pass.k_positions.extent(1), pass.options);
  if (encoding_.bias_of_distance) {
    PositionalContext of_keys = context;
    of_keys.k_positions = pass.k_positions;
    pass.bias = bias_at(encoding_.bias_of_distance, of_keys, options.segments, shape_.dtype);
  }
  return pass;
}

Var Transformer::logits(const Tensor& ids, const ForwardOptions& options) const {
  const Observer* const observer = options.observer;
  require<UsageError>(shape_.activations != Dtype::bf16 || device() == Device::cuda, "transformer",
                      "activations in bf16 need a model on cuda; move it there, or store them in f32");
  Var x = embedding_(ids);
  require<GradientError>(!options.cache || !x.needs_gradient(), "transformer",
                         "a cache holds values only; read inside a NoGradient");
  AttentionPass pass = pass_for(ids, options);
  const int64_t length = ids.extent(1);
  require<UsageError>(!options.last_only || length > 0, "transformer", "ids are ", ids.shape(),
                      "; the last token is asked for, and there is none");
  if (encoding_.embed) x = encoding_.embed(x, pass.context);
  if (shape_.dtype == Dtype::f32 && shape_.activations != Dtype::f32) x = cast(x, shape_.activations);
  x = observed(observer, {Site::embedded, -1}, x);
  const bool recompute = options.recompute_blocks && !(observer && observer->replace);
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    const Block* const block = &blocks_[static_cast<size_t>(layer)];
    if (!recompute) {
      x = (*block)(x, layer, pass);
      continue;
    }
    // The second call is for the gradients: nobody watches it.
    x = checkpointed([block, layer, x, pass, second = false]() mutable {
      if (std::exchange(second, true)) pass.observer = nullptr;
      return (*block)(x, layer, pass);
    });
  }
  if (options.cache) options.cache->length_ += length;
  x = final_norm_(options.last_only ? slice(x, 1, length - 1, length) : x);
  const Var head = head_ ? (*head_)(x) : matmul(x, transpose(stored_like(x, embedding_.weight), 0, 1));
  return observed(observer, {Site::logits, -1}, head.dtype() == shape_.dtype ? head : cast(head, shape_.dtype));
}

}  // namespace phasor
