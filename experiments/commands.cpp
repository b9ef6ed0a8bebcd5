// Each command checks everything it can before it takes a folder or starts to work.
#include "experiments/commands.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/nearest_name.hpp"
#include "core/parallel.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/comparison.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/explorer/explorer.hpp"
#include "experiments/machine.hpp"
#include "experiments/report/text.hpp"
#include "experiments/resources.hpp"
#include "experiments/signals.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"
#include "nn/generation.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

// Everything about an encoding that can be checked without work: its own settings, the shape of the model, positions.
void require_encoding(const Settings& settings) {
  const int64_t limit = position_limit(settings), longest = evaluation_lengths(settings).back();
  const std::string& encoding = settings.encoding.name;
  require<UsageError>(settings.train.length <= limit, "encoding", encoding, " knows positions below ", limit,
                      "; train.length is ", settings.train.length);
  require<UsageError>(longest <= limit, "encoding", encoding, " knows positions below ", limit,
                      limit == settings.train.length ? " (train.length)" : "", "; eval.lengths asks for ", longest,
                      " tokens: --set eval.lengths=[", limit / 2, ",", limit, "]");
}

// The corpus and its windows.
Corpus corpus_after_checks(const Settings& settings) {
  Corpus corpus = load_corpus(settings.corpus);
  int64_t longest = evaluation_lengths(settings).back();
  for (const int64_t length : settings.dissect.lengths) longest = std::max(longest, length);
  const auto bytes = static_cast<int64_t>(corpus.bytes.size());
  const int64_t needed = std::max(20 * longest, 2 * settings.train.length);
  require<FileError>(bytes >= needed, "corpus", settings.corpus, " has ", bytes, " bytes; needs at least ", needed,
                     ": the last 5 % are held out and must fill a window of ", longest,
                     " (eval.lengths, dissect.lengths), the rest one of ", settings.train.length, " (train.length)");
  return corpus;
}

void require_precision(const Settings& s) {
  require<UsageError>(s.train.precision == "f32" || s.device == Device::cuda, "settings", "train.precision is ",
                      s.train.precision, ", which runs on a GPU only; needs --device cuda, or f32");
}

double real(int64_t extent) { return static_cast<double>(extent); }

double matrices_in_mlp(const ModelShape& shape) { return shape.mlp == MlpKind::swiglu ? 3 : 2; }

constexpr uint64_t no_seed = 0;  // where only extents are asked for

// The weights of all matrices, which are nearly all parameters.
double weight_count(const ModelShape& shape) {
  const AttentionShape attention = shape.attention(no_seed);
  const double width = real(shape.width), tables = shape.head == HeadKind::tied ? 1 : 2;
  const double heads = real(attention.heads * attention.head_dim),
               kv_heads = real(attention.kv_heads * attention.head_dim);
  return tables * real(shape.vocabulary) * width +
         real(shape.layers) * (2 * width * (heads + kv_heads) + matrices_in_mlp(shape) * width * real(shape.hidden));
}

// Refuses what cannot fit before anything is allocated or written. A lower bound: weights, gradients and two optimizer
// states, and of the activations what backward certainly keeps.
void require_memory(const Settings& s) {
  const ModelShape shape = model_shape(s);
  const double width = real(shape.width), layers = real(shape.layers);
  const double tokens = real(s.train.batch / s.train.accumulate) * real(s.train.length);
  const double in_block = 3 * width + matrices_in_mlp(shape) * real(shape.hidden);
  const double activations = s.train.recompute_blocks ? layers * width + in_block : layers * (width + in_block);
  const double needed = 4 * (4 * weight_count(shape) + tokens * activations);
  const double available = available_bytes(s.device);
  require<ResourceError>(needed <= available, "memory", "training needs at least ", std::llround(needed * 1e-6),
                         " MB, ", std::llround(available * 1e-6), s.device == Device::cuda ? " MB of the GPU" : " MB",
                         " are available; lower model.width (",
                         s.model.width, "), model.layers (", s.model.layers, ") or train.batch (", s.train.batch,
                         ") x train.length (", s.train.length, "), or raise train.accumulate (", s.train.accumulate,
                         ")");
}

// A lower bound as above: weights, what is kept of the whole text, and what the prompt's reading holds at once: the
// channels inside an MLP, or for each query and key the scores and biases of one layer where they are stored.
void require_memory_to_generate(const ModelShape& shape, const PositionalEncoding& encoding, int64_t prompt,
                                int64_t bytes) {
  const AttentionShape attention = shape.attention(no_seed);
  const bool biased = static_cast<bool>(encoding.bias_of_positions), unfused = encoding.why_unfused() != nullptr;
  const double keys_and_values = 2 * real(attention.kv_heads * attention.head_dim);
  const double inputs = biased || encoding.transform ? real(shape.width) : 0;
  const double kept = real(shape.layers) * (keys_and_values + inputs) * real(prompt + bytes);
  const double at_once = real(tokens_at_once(encoding, 0, prompt + 1));
  const double pairs = ((biased ? 1 : 0) + (unfused ? 1 : 0)) * real(shape.heads) * real(prompt);
  const double needed = 4 * (weight_count(shape) + kept + at_once * std::max(real(shape.hidden), pairs));
  const double available = available_bytes();
  require<ResourceError>(needed <= available, "memory", "a prompt and --bytes of ", prompt, " + ", bytes,
                         " bytes need at least ", std::llround(needed * 1e-6), " MB, ", std::llround(available * 1e-6),
                         " MB are available; shorten the prompt or lower --bytes");
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

std::vector<std::string> learned_by_encoding(const Settings& settings) {
  ParameterList learned;
  encoding_of(settings, learned);
  std::vector<std::string> names;
  for (const Parameter& p : learned.all()) names.push_back(p.name);
  return names;
}

// The settings of a trained run, and those it is read with.
struct RunToRead {
  Settings trained, now;
};
enum class MayChange { encoding, encoding_corpus_and_eval };

// UsageError unless `run` holds one model and only what `allowed` names changes; another encoding may take the place of
// the run's own if neither learns anything.
RunToRead run_to_read(const char* command, const fs::path& run, const SettingsChanges& changes, MayChange allowed,
                      Device device) {
  Settings trained = settings_of_run(run);
  trained.device = device;
  require_precision(trained);
  require<UsageError>(trained.run.question == "none", command, run, " answers ", trained.run.question,
                      " with several models; name one of them, such as ",
                      run / (trained.encoding.name + "-seed" + std::to_string(trained.train.seed)));
  Settings changed = trained;  // not checked: what encoding is asked for
  for (const std::string& assignment : changes.assignments) assign(changed, assignment);
  const Settings now = apply(with_encoding(trained, changed.encoding.name), changes);
  const bool encoding_only = allowed == MayChange::encoding;
  Settings same = now;
  if (!encoding_only) {
    same.eval = trained.eval;
    same.corpus = trained.corpus;
  }
  same.encoding = trained.encoding;
  same.encoding.layout = now.encoding.layout;
  const std::string keys = differing_keys(trained, same);
  require<UsageError>(keys.empty(), command, "the model was trained with other settings: ", keys, "; only ",
                      encoding_only ? "encoding.* but its layout" : "corpus, encoding.* but its layout, and eval.*",
                      " may change");
  if (!(now.encoding == trained.encoding))
    for (const Settings& s : {trained, now})
      require<UsageError>(learned_by_encoding(s).empty(), command, s.encoding.name, " learns ",
                          list_of(learned_by_encoding(s)), "; ", now.encoding.name, " can take the place of ",
                          trained.encoding.name, " only if neither learns anything");
  return {trained, now};
}

void show(const RunFolder& folder) {
  const std::vector<std::byte> text = read_file(folder.file("results.txt"));
  print_checked(std::string(reinterpret_cast<const char*>(text.data()), text.size()) + "\n" +
                folder.file("report.html").string() + "\n");
}

}  // namespace

void print_checked(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    throw ResourceError("standard output cannot be written");
}

int run_command(const std::string& name, const SettingsChanges& changes, const RunOptions& options, bool quick) {
  const Experiment& experiment = question_named(name);
  require<UsageError>(!quick || !experiment.quick.empty(), "run", name, " has no quick form");
  Settings defaults = experiment.defaults;
  if (quick)
    for (const std::string& assignment : experiment.quick) assign(defaults, assignment);
  Settings settings = apply(defaults, changes);
  require<UsageError>(settings.run.question == "none" || settings.run.question == name, "run",
                      "these settings are of phasor run ", settings.run.question, "; run.question must be none or ",
                      name);
  settings.run.question = name;
  settings.device = options.device;
  require_precision(settings);
  require<UsageError>(settings.encoding.name == experiment.defaults.encoding.name, "run", name,
                      " trains encodings of its own (", list_of(experiment.encodings), "); encoding.name = '",
                      settings.encoding.name, "' would change nothing; use phasor train for one encoding");
  const bool are_named = !settings.run.encodings.empty();
  require<UsageError>(experiment.takes_others || !are_named, "run", name, " trains ", list_of(experiment.encodings),
                      "; run.encodings must be []");
  const std::vector<std::string> encodings = are_named ? settings.run.encodings : experiment.encodings;
  for (const std::string& encoding : encodings) {
    require<UsageError>(std::count(encodings.begin(), encodings.end(), encoding) == 1, "run", "run.encodings names ",
                        encoding, " twice");
    encoding_named(encoding);
  }
  experiment.check(settings);
  require_memory(settings);
  for (const std::string& encoding : encodings) {
    try {
      for (int64_t i = 0; i < settings.run.seeds; ++i)
        require_encoding(settings_for(settings, encoding, settings.train.seed + i));
    } catch (const UsageError& error) {
      if (!experiment.takes_others || are_named) throw;
      throw UsageError(std::string(error.what()) + "; leave " + encoding + " out with run.encodings");
    }
  }
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options.threads));
  const fs::path path = options.out.empty() ? default_run_path(name, settings) : options.out;
  const QuestionRun job{.name = name,
                        .settings = settings,
                        .encodings = encodings,
                        .corpus = corpus,
                        .folder = RunFolder(path, settings, options.resume),
                        .quiet = options.quiet};
  if (!job.folder.finished()) {
    remember_signals();
    record_machine(job.folder.path(), thread_count(options.threads));
    with_threads(thread_count(options.threads), [&] { write_answer(job.folder, experiment.run(job)); });
  }
  show(job.folder);
  return 0;
}

int train_command(const Settings& asked, const RunOptions& options) {
  Settings settings = asked;
  settings.device = options.device;
  require_precision(settings);
  require<UsageError>(settings.run.seeds == 1, "train", "trains one model; run.seeds = ", settings.run.seeds,
                      " is for phasor run; choose one with --seed");
  require<UsageError>(settings.run.encodings.empty(), "train",
                      "trains one encoding, encoding.name = ", settings.encoding.name,
                      "; run.encodings is for phasor run");
  require<UsageError>(settings.run.question == "none", "train", "these settings are of phasor run ",
                      settings.run.question, "; run.question must be none");
  require_memory(settings);
  require_encoding(settings);
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options.threads));
  const fs::path path = options.out.empty() ? default_run_path("train", settings) : options.out;
  const RunFolder folder(path, settings, options.resume);
  if (!folder.finished()) {
    remember_signals();
    record_machine(folder.path(), thread_count(options.threads));
    with_threads(thread_count(options.threads), [&] { train_and_evaluate(settings, corpus, folder, options.quiet); });
  }
  show(folder);
  return 0;
}

int eval_command(const fs::path& run, const SettingsChanges& changes, const RunOptions& options) {
  const auto [trained, settings] =
      run_to_read("eval", run, changes, MayChange::encoding_corpus_and_eval, options.device);
  const bool other_encoding = !(settings.encoding == trained.encoding);
  require_encoding(settings);
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options.threads));
  remember_signals();
  with_threads(thread_count(options.threads), [&] {
    const TrainedModel loaded = load_model(run, trained, settings.encoding);
    require<FileError>(
        settings.corpus != trained.corpus || corpus.sha256 == loaded.corpus_sha256, "eval", settings.corpus,
        " is not the text the model was trained on any more; name another one with --set corpus=file:PATH");
    const Measured measured = evaluate_model(loaded.model, settings, corpus, options.quiet);
    const std::string title = fmt::format(
        "Evaluation of {} after {} of {} steps{}", run.string(), loaded.step, trained.train.steps,
        other_encoding ? ", trained with " + trained.encoding.name + ", read with " + settings.encoding.name : "");
    print_checked(comparison_answer(title, "", {measured}, trainings_of(settings)).text);
  });
  return 0;
}

// An option's integer. From text: CLI11 would bring a number too large to the largest there is, which is another one.
static int64_t integer_within(const char* command, const char* option, const std::string& text, int64_t largest) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  const bool is_integer = result.ec == std::errc() && result.ptr == end;
  require<UsageError>(is_integer && value >= 0 && value <= largest, command, option, " is ", text,
                      "; needs an integer from 0 to ", largest);
  return value;
}

constexpr uint64_t generation_stream = 0x74657874;  // "text": apart from those of weights, data and positions

int generate_command(const fs::path& run, const GenerateArguments& arguments, const SettingsChanges& changes,
                     const RunOptions& options) {
  constexpr int64_t most_bytes = int64_t{1} << 20;
  const Sampling sampling{.temperature = arguments.temperature, .top_p = arguments.top_p, .never = {bos_token}};
  const auto prompt = static_cast<int64_t>(arguments.prompt.size());
  const int64_t bytes = integer_within("generate", "--bytes", arguments.bytes, most_bytes);
  const int64_t seed = integer_within("generate", "--seed", arguments.seed, std::numeric_limits<int64_t>::max());
  // fmt writes as many digits as tell a number from its neighbours.
  require<UsageError>(sampling.temperature >= 0 && std::isfinite(sampling.temperature), "generate", "--temperature is ",
                      fmt::format("{}", sampling.temperature),
                      "; needs a finite number of at least 0 (0: always the likeliest byte)");
  require<UsageError>(sampling.top_p > 0 && sampling.top_p <= 1, "generate", "--top-p is ",
                      fmt::format("{}", sampling.top_p), "; needs a number above 0, up to 1 (1: all bytes)");
  const auto [trained, settings] = run_to_read("generate", run, changes, MayChange::encoding, options.device);
  const ModelShape shape = model_shape(settings);
  ParameterList learned;
  const PositionalEncoding encoding = encoding_of(settings, learned);
  // The last byte is written, not read, and the window's beginning has a position: as many as there are bytes.
  require<UsageError>(prompt + bytes <= encoding.position_limit, "generate", shape.encoding, " knows positions below ",
                      encoding.position_limit,
                      encoding.position_limit == settings.train.length ? " (train.length)" : "",
                      "; the prompt and --bytes take ", prompt, " + ", bytes, " = ", prompt + bytes);
  require_memory_to_generate(shape, encoding, prompt, bytes);
  require_address_space(thread_count(options.threads));
  remember_signals();
  with_threads(thread_count(options.threads), [&] {
    const TrainedModel loaded = load_model(run, trained, settings.encoding);
    std::vector<int32_t> text = {bos_token};
    PrintableText printable;
    std::string shown;
    for (const char c : arguments.prompt) {
      const auto byte = static_cast<uint8_t>(c);
      text.push_back(byte);
      shown += printable.add(byte);
    }
    print_checked(shown);
    Generator generator(loaded.model, text);
    Random random{.seed = static_cast<uint64_t>(seed), .stream = generation_stream};
    int64_t written = 0;
    try {
      for (; written < bytes && remembered_signal() == 0; ++written)
        print_checked(printable.add(static_cast<uint8_t>(generator.next(sampling, random))));
    } catch (const Error&) {  // which gets a line of its own
      print_checked(printable.rest() + "\n");
      throw;
    }
    print_checked(printable.rest() + "\n");
    if (written < bytes)
      throw Interrupted(remembered_signal(), fmt::format("stopped after {} of {} bytes", written, bytes));
  });
  return 0;
}

// The sizes asked for, or else `defaults`, with the changes.
static std::vector<BenchSize> bench_sizes_of(const std::vector<std::string>& names,
                                             const std::vector<std::string>& defaults, const SettingsChanges& changes,
                                             Device device) {
  std::vector<BenchSize> sizes;
  for (const std::string& name : names.empty() ? defaults : names) {
    BenchSize size = bench_size_named(name);
    size.settings = apply(size.settings, changes);
    size.settings.device = device;
    require_precision(size.settings);
    if (!changes.assignments.empty()) size.name += " with --set";
    require_memory(size.settings);
    ParameterList learned;
    encoding_of(size.settings, learned);
    sizes.push_back(size);
  }
  return sizes;
}

int bench_command(const BenchArguments& arguments, const SettingsChanges& changes, const RunOptions& options) {
  require<UsageError>(arguments.against.empty() || arguments.against == "torch", "bench", "--against is ",
                      arguments.against, "; the only one known is torch");
  const std::string& name = arguments.name;
  std::vector<std::string> all;
  for (const BenchSize& size : bench_sizes())
    if (!size.is_for_gpu) all.push_back(size.name);
  const bool all_by_default = name == "memory" && !arguments.quick;
  const std::vector<std::string> defaults =
      all_by_default ? all : std::vector<std::string>{arguments.quick ? "tiny" : "reference"};
  const std::vector<BenchSize> sizes = bench_sizes_of(arguments.sizes, defaults, changes, options.device);
  require_address_space(thread_count(options.threads));
  const bool on_gpu = options.device == Device::cuda;
  require<UsageError>(!on_gpu || name == "step" || name == "attention" || name == "ops", "bench", name,
                      " runs on the CPU; --device cuda has step, attention and ops");
  if (name == "ops" && !arguments.quick) {
    const double needed = on_gpu ? gpu_bytes_for_ops : bytes_for_ops, available = available_bytes(options.device);
    require<ResourceError>(needed <= available, "memory", "bench ops needs ", needed * 1e-6, " MB, ",
                           std::llround(available * 1e-6), " MB are available");
  }

  const BenchOptions how{
      .threads = thread_count(options.threads), .quick = arguments.quick, .device = options.device};
  const Against against = arguments.against.empty() ? Against::nothing : Against::torch;
  const fs::path page = options.out.empty() ? fs::path("runs") / "scaling.html" : options.out;
  with_threads(how.threads, [&] {
    BenchResult result;
    if (name == "step") {
      result = bench_step(sizes, against, how);
    } else if (name == "attention") {
      result = bench_attention(against, how);
    } else if (name == "ops") {
      result = bench_ops(how);
    } else if (name == "gemm") {
      result = bench_gemm(sizes, how);
    } else if (name == "memory") {
      result = bench_memory(sizes, how);
    } else {
      Scaling scaling = bench_scaling(how);
      std::error_code ignored;  // where the folder cannot be made, the page cannot be written, and that is said
      if (page.has_parent_path()) fs::create_directories(page.parent_path(), ignored);
      write_file_atomically(page, scaling.page);
      result = std::move(scaling.result);
    }
    print_checked(to_text(result));
    if (name == "scaling") print_checked("\n" + page.string() + "\n");
    if (!arguments.json.empty()) write_file_atomically(arguments.json, to_json(result));
  });
  return 0;
}

int explore_command(const Settings& settings, const RunOptions& options) {
  const fs::path path = options.out.empty() ? "explorer.html" : options.out;
  write_file_atomically(path, explorer_page(settings));
  print_checked(path.string() + "\n");
  return 0;
}

const Experiment& question_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, experiment] : questions()) {
    if (known == name) return experiment;
    names.push_back(known);
  }
  throw UsageError(unknown_name("question", name, names));
}

}  // namespace phasor
