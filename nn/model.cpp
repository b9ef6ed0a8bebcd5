// The transformer: checks of its shape, construction, forward.
#include "nn/model.hpp"

namespace phasor {

AttentionShape ModelShape::attention() const {
  require<UsageError>(vocabulary >= 1 && width >= 1 && layers >= 1 && heads >= 1 && hidden >= 1 && kv_heads >= 0,
                      "model", "vocabulary ", vocabulary, ", width ", width, ", layers ", layers, ", heads ", heads,
                      ", hidden ", hidden, "; each must be at least 1");
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
          .fraction = fraction};
}

Block::Block(const std::string& name, const ModelShape& s, Build build)
    : attention_norm(name + ".attention_norm", s.width, build),
      attention(name + ".attention", s.attention(), s.layout, build),
      mlp_norm(name + ".mlp_norm", s.width, build),
      mlp(name + ".mlp", s.width, s.hidden, build) {}

static std::vector<Block> blocks_of(const ModelShape& shape, Build build) {
  std::vector<Block> blocks;
  blocks.reserve(static_cast<size_t>(shape.layers));
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    blocks.emplace_back("block." + std::to_string(layer), shape, build);
  return blocks;
}

Transformer::Transformer(const ModelShape& shape, uint64_t seed) : Transformer(shape, Random{.seed = seed}) {}

Transformer::Transformer(const ModelShape& shape, Random random)
    : shape_((shape.attention(), shape)),  // checked before anything is allocated
      embedding_("embedding", shape.vocabulary, shape.width, {parameters_, random, shape.dtype}),
      blocks_(blocks_of(shape, {parameters_, random, shape.dtype})),
      final_norm_("final_norm", shape.width, {parameters_, random, shape.dtype}),
      head_("head", shape.width, shape.vocabulary, {parameters_, random, shape.dtype}) {
  const AttentionShape attention = shape.attention();
  ParameterList learned;
  encoding_ = encoding_named(shape.encoding).make(attention, learned);
  require<UsageError>(!encoding_.rotation || attention.head_dim % 2 == 0, "model",
                      "head_dim = width / heads = ", shape.width, " / ", shape.heads, " = ", attention.head_dim,
                      " is odd; components are pairs of channels");
  parameters_.append("encoding.", learned);
}

Var Transformer::logits(const Tensor& ids, const ForwardOptions& options) const {
  require(ids.rank() == 2, "transformer", "ids are ", ids.shape(), "; expected [batch, length]");
  const int64_t batch = ids.extent(0), length = ids.extent(1);
  const Tensor positions = options.positions.defined() ? options.positions : consecutive_positions(length);
  require(positions.rank() == 2 && (positions.extent(0) == 1 || positions.extent(0) == batch) &&
              positions.extent(1) == length,
          "transformer", "positions are ", positions.shape(), ", ids are ", ids.shape(),
          "; expected [batch or 1, length]");

  PositionalContext context;
  context.heads = shape_.heads;
  context.q_positions = context.k_positions = positions;
  context.current_length = length;
  context.train_length = shape_.train_length;
  const AttentionOptions attention_options{.scale = {}, .causal = Causal::yes, .segments = options.segments};

  Var x = embedding_(ids);
  if (encoding_.embed) x = encoding_.embed(x, context);
  RotaryTables shared;
  const RotaryTables* tables = nullptr;
  for (const Block& block : blocks_) {
    const Var normed = block.attention_norm(x);
    if (encoding_.rotation && encoding_.rotation->same_in_every_layer && !tables) {
      PositionalContext at_positions = context;
      at_positions.q = normed;  // tells the tables' dtype
      shared = encoding_.rotation->tables(at_positions);
      tables = &shared;
    }
    x = x + block.attention(normed, encoding_, tables, context, attention_options);
    x = x + block.mlp(block.mlp_norm(x));
    ++context.layer;
  }
  return head_(final_norm_(x));
}

}  // namespace phasor
