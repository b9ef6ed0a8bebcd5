// A step as the CPU takes it, and as the GPU does.
#include "experiments/training_step.hpp"

#include <cmath>
#include <functional>

#include "core/ids.hpp"
#include "core/ops/binary.hpp"

namespace phasor {

constexpr uint64_t position_stream = 0x706f73;  // "pos"

// The positions of a step's windows: those the encoding draws, or undefined for 0, 1, 2, ...
static Tensor sampled_positions(const Transformer& model, const Settings& s, int64_t step) {
  if (!model.encoding().training_positions) return {};
  // Every step has 2^32 blocks of its own, so that step k is reached without drawing those before it.
  Random random{.seed = static_cast<uint64_t>(s.train.seed),
                .stream = position_stream,
                .counter = static_cast<uint64_t>(step) << 32};
  return model.encoding()
      .training_positions(s.train.batch, s.train.length, random)
      .broadcast_to({s.train.batch, s.train.length});
}

namespace {

struct LossAndGradients {
  Tensor loss;  // f64, a number
  GradientList gradients;
};

}  // namespace

// `seen` gets the loss of the parts so far, before each backward pass.
static LossAndGradients loss_and_gradients(const Transformer& model, const TokenWindows& batch, const Tensor& positions,
                                           const TrainSettings& t, const std::function<void(const Tensor& loss)>& seen) {
  const int64_t part = t.batch / t.accumulate;
  LossAndGradients result;
  GradientList& gradients = result.gradients;
  for (int64_t first = 0; first < t.batch; first += part) {
    // Equal parts: the mean of their means is the mean over the batch.
    const ForwardOptions forward{.positions = positions.defined() ? positions.slice(0, first, first + part) : Tensor(),
                                 .recompute_blocks = t.recompute_blocks};
    const Var part_loss = cross_entropy(model.logits(batch.inputs.slice(0, first, first + part), forward),
                                        batch.targets.slice(0, first, first + part)) *
                          (1.0 / static_cast<double>(t.accumulate));
    const Tensor in_double = part_loss.value().to(Dtype::f64);
    result.loss = result.loss.defined() ? add(result.loss, in_double) : in_double;
    if (seen) seen(result.loss);
    GradientList of_part = gradients_of(backward(part_loss), model.parameters());
    if (first == 0) {
      gradients = std::move(of_part);
      continue;
    }
    for (size_t i = 0; i < gradients.size(); ++i) {
      // The first part's gradients belong to backward, which may share one among several leaves.
      if (first == part) gradients[i] = gradients[i].clone();
      add_into(gradients[i], of_part[i]);
    }
  }
  return result;
}

static void require_finite_loss(double loss, int64_t step, const TrainSettings& t) {
  require<NumericError>(std::isfinite(loss), "train", "the loss is ", loss, " at step ", step,
                        "; lower train.learning_rate (", t.learning_rate, ") or raise train.warmup_steps (",
                        t.warmup_steps, ")");
}

StepResult training_step(const Transformer& model, AdamW& optimizer, const TokenWindows& batch,
                         const Settings& settings) {
  if (model.device() == Device::cuda) {
    TrainingSteps one(model, optimizer, settings);
    one.start(batch);
    return one.finish();
  }
  const TrainSettings& t = settings.train;
  const std::vector<Parameter>& all = model.parameters().all();
  double loss = 0;
  auto [summed, gradients] = loss_and_gradients(
      model, batch, sampled_positions(model, settings, optimizer.steps), t, [&](const Tensor& so_far) {
        loss = so_far.item<double>();
        require_finite_loss(loss, optimizer.steps, t);
      });
  clip_each(model.parameters(), gradients);
  const double norm = global_norm(gradients);
  if (!std::isfinite(norm)) {
    for (size_t i = 0; i < all.size(); ++i)
      require<NumericError>(std::isfinite(global_norm({gradients[i]})), "train", "the gradient of '", all[i].name,
                            "' is not finite at step ", optimizer.steps, "; lower train.learning_rate (",
                            t.learning_rate, ")");
    fail<NumericError>("train", "the norm of the gradient overflows at step ", optimizer.steps);
  }
  const double rate =
      learning_rate_at(optimizer.steps, t.steps, t.warmup_steps, t.learning_rate, t.final_learning_rate);
  optimizer.step(model.parameters(), gradients, rate, clip_factor(norm, t.clip_norm));
  return {loss, norm, rate};
}

TrainingSteps::TrainingSteps(const Transformer& model, AdamW& optimizer, const Settings& settings)
    : model_(model), optimizer_(optimizer), settings_(settings), on_gpu_(model.device() == Device::cuda) {
  if (!on_gpu_) return;
  const TrainSettings& t = settings.train;
  const auto windows = [&] { return Tensor::zeros({t.batch, t.length}, Dtype::i32, Device::cuda); };
  batch_ = {windows(), windows()};
  update_.emplace(model.parameters(), optimizer, t.clip_norm);
  if (model.encoding().training_positions) why_not_recorded_ = "the encoding draws other positions for every step";
}

// Everything that is asked of the GPU for one step, to be recorded or run.
void TrainingSteps::run_on_gpu(const TokenWindows& batch, const Tensor& positions) {
  const LossAndGradients of = loss_and_gradients(model_, batch, positions, settings_.train, {});
  update_->take(of.gradients, of.loss);
}

void TrainingSteps::record() {
  try {
    graph_.emplace([&] { run_on_gpu(batch_, {}); });
  } catch (const DeviceError& error) {
    why_not_recorded_ = error.what();
  }
}

// The first step runs as it is: it fills the pool, and what is set up once is set up. Then one is recorded.
void TrainingSteps::start(const TokenWindows& batch) {
  const TrainSettings& t = settings_.train;
  const int64_t step = optimizer_.steps;
  const double rate = learning_rate_at(step, t.steps, t.warmup_steps, t.learning_rate, t.final_learning_rate);
  if (!on_gpu_) {
    started_.push_back({step, rate, {}, training_step(model_, optimizer_, batch, settings_)});
    return;
  }
  // Ids are not checked while a step is recorded, and a recorded one cannot.
  require_ids("train", "id", batch.inputs, model_.shape().vocabulary);
  require_ids("train", "target", batch.targets, model_.shape().vocabulary);
  copy_into(batch_.inputs, batch.inputs);
  copy_into(batch_.targets, batch.targets);
  const Tensor positions = sampled_positions(model_, settings_, step);
  update_->begin(rate);
  if (taken_here_++ > 0 && !graph_ && why_not_recorded_.empty()) record();
  if (graph_)
    graph_->launch();
  else
    run_on_gpu(batch_, positions);
  started_.push_back({step, rate, Readback(update_->numbers()), {}});
}

StepResult TrainingSteps::finish() {
  const Started of = std::move(started_.front());
  started_.pop_front();
  if (!on_gpu_) return of.result;
  const TrainSettings& t = settings_.train;
  const std::vector<double> numbers = of.numbers->values();
  const double loss = numbers[0], norm = numbers[1];
  require_finite_loss(loss, of.step, t);
  if (!std::isfinite(norm)) {
    const std::vector<Parameter>& all = model_.parameters().all();
    for (size_t i = 0; i < all.size(); ++i)
      require<NumericError>(std::isfinite(numbers[2 + i]), "train", "the gradient of '", all[i].name,
                            "' is not finite at step ", of.step, "; lower train.learning_rate (", t.learning_rate, ")");
    fail<NumericError>("train", "the norm of the gradient overflows at step ", of.step);
  }
  return {loss, norm, of.learning_rate};
}

}  // namespace phasor
