// Each command checks everything it can before it takes a folder or starts to work.
#include "experiments/commands.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <thread>

#include "core/nearest_name.hpp"
#include "core/parallel.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/comparison.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/signals.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

int thread_count(const RunOptions& options) {
  return options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

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
  const int64_t longest = evaluation_lengths(settings).back(), bytes = static_cast<int64_t>(corpus.bytes.size());
  const int64_t needed = std::max(20 * longest, 2 * settings.train.length);
  require<FileError>(bytes >= needed, "corpus", settings.corpus, " has ", bytes, " bytes; needs at least ", needed,
                     ": the last 5 % are held out and must fill a window of ", longest,
                     " (eval.lengths), the rest one of ", settings.train.length, " (train.length)");
  return corpus;
}

// A product of OpenBLAS takes 128 MiB of address space on each thread, and waits forever where there is none.
void require_address_space(int threads) {
  rlimit limit = {};
  constexpr uint64_t for_each_thread = uint64_t{128} << 20, for_the_rest = uint64_t{512} << 20;
  const uint64_t needed = for_the_rest + for_each_thread * (static_cast<uint64_t>(threads) + 1);
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    require<ResourceError>(limit.rlim_cur >= needed, "memory", "the limit of this shell is ", limit.rlim_cur >> 20,
                           " MiB of address space; ", threads, " threads need at least ", needed >> 20,
                           " MiB (ulimit -v), or take fewer with --threads");
}

// Infinity where the system does not tell.
double available_bytes() {
  std::string key;
  double kib = 0;
  for (std::ifstream info("/proc/meminfo"); info >> key;)
    if (key == "MemAvailable:" && info >> kib) return kib * 1024;
  return std::numeric_limits<double>::infinity();
}

// Refuses what cannot fit before anything is allocated or written. A lower bound: weights, gradients and two optimizer
// states, and of the activations what backward certainly keeps.
void require_memory(const Settings& s) {
  const ModelShape shape = model_shape(s);
  const AttentionShape attention = shape.attention();
  const auto real = [](int64_t extent) { return static_cast<double>(extent); };
  const double width = real(shape.width), hidden = real(shape.hidden), layers = real(shape.layers);
  const double heads = real(attention.heads * attention.head_dim),
               kv_heads = real(attention.kv_heads * attention.head_dim);
  const double tables = shape.head == HeadKind::tied ? 1 : 2, products = shape.mlp == MlpKind::swiglu ? 3 : 2;
  const double parameters =
      tables * real(shape.vocabulary) * width + layers * (2 * width * (heads + kv_heads) + products * width * hidden);
  const double tokens = real(s.train.batch / s.train.accumulate) * real(s.train.length);
  const double in_block = 3 * width + products * hidden;
  const double activations = s.train.recompute_blocks ? layers * width + in_block : layers * (width + in_block);
  const double needed = 4 * (4 * parameters + tokens * activations);
  const double available = available_bytes();
  require<ResourceError>(needed <= available, "memory", "training needs at least ", std::llround(needed * 1e-6),
                         " MB, ", std::llround(available * 1e-6), " MB are available; lower model.width (",
                         s.model.width, "), model.layers (", s.model.layers, ") or train.batch (", s.train.batch,
                         ") x train.length (", s.train.length, "), or raise train.accumulate (", s.train.accumulate,
                         ")");
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

std::vector<std::string> learned_by_encoding(const Settings& settings) {
  ParameterList learned;
  encoding_named(settings.encoding.name).make(model_shape(settings).attention(), learned);
  std::vector<std::string> names;
  for (const Parameter& p : learned.all()) names.push_back(p.name);
  return names;
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
  require<UsageError>(settings.encoding.name == experiment.defaults.encoding.name, "run", name,
                      " trains encodings of its own (", list_of(experiment.encodings), "); encoding.name = '",
                      settings.encoding.name, "' would change nothing; use phasor train for one encoding");
  const std::vector<std::string> encodings =
      settings.run.encodings.empty() ? experiment.encodings : settings.run.encodings;
  for (const std::string& encoding : encodings) {
    require<UsageError>(std::count(encodings.begin(), encodings.end(), encoding) == 1, "run", "run.encodings names ",
                        encoding, " twice");
    encoding_named(encoding);
  }
  experiment.check(settings);
  require_memory(settings);
  for (const std::string& encoding : encodings) require_encoding(settings_for(settings, encoding, settings.train.seed));
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options));
  const fs::path path = options.out.empty() ? default_run_path(name, settings) : options.out;
  const QuestionRun job{.name = name,
                        .settings = settings,
                        .encodings = encodings,
                        .corpus = corpus,
                        .folder = RunFolder(path, settings, options.resume),
                        .quiet = options.quiet};
  if (!job.folder.finished()) {
    remember_signals();
    write_file_atomically(job.folder.file("machine.json"), machine_json(thread_count(options)));
    with_threads(thread_count(options), [&] { write_answer(job.folder, experiment.run(job)); });
  }
  show(job.folder);
  return 0;
}

int train_command(const Settings& settings, const RunOptions& options) {
  require<UsageError>(settings.run.seeds == 1, "train", "trains one model; run.seeds = ", settings.run.seeds,
                      " is for phasor run; choose one with --seed");
  require<UsageError>(settings.run.question == "none", "train", "these settings are of phasor run ",
                      settings.run.question, "; run.question must be none");
  require_memory(settings);
  require_encoding(settings);
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options));
  const fs::path path = options.out.empty() ? default_run_path("train", settings) : options.out;
  const RunFolder folder(path, settings, options.resume);
  if (!folder.finished()) {
    remember_signals();
    write_file_atomically(folder.file("machine.json"), machine_json(thread_count(options)));
    with_threads(thread_count(options), [&] { train_and_evaluate(settings, corpus, folder, options.quiet); });
  }
  show(folder);
  return 0;
}

int eval_command(const fs::path& run, const SettingsChanges& changes, const RunOptions& options) {
  const Settings trained = settings_of_run(run);
  require<UsageError>(trained.run.question == "none", "eval", run, " answers ", trained.run.question,
                      " with several models; evaluate one of them, such as ",
                      run / (trained.encoding.name + "-seed" + std::to_string(trained.train.seed)));
  const Settings settings = apply(trained, changes);
  Settings same = settings;
  same.eval = trained.eval;
  same.corpus = trained.corpus;
  same.encoding = trained.encoding;
  same.encoding.layout = settings.encoding.layout;
  const std::string keys = differing_keys(trained, same);
  require<UsageError>(keys.empty(), "eval", "the model was trained with other settings: ", keys,
                      "; only corpus, encoding.* but its layout, and eval.* may change");
  const bool other_encoding = !(settings.encoding == trained.encoding);
  if (other_encoding)
    for (const Settings& s : {trained, settings})
      require<UsageError>(learned_by_encoding(s).empty(), "eval", s.encoding.name, " learns ",
                          list_of(learned_by_encoding(s)), "; ", settings.encoding.name, " can take the place of ",
                          trained.encoding.name, " only if neither learns anything");
  require_encoding(settings);
  const Corpus corpus = corpus_after_checks(settings);
  require_address_space(thread_count(options));
  remember_signals();
  with_threads(thread_count(options), [&] {
    const TrainedModel loaded = load_model(run, trained, settings.encoding);
    require<FileError>(
        settings.corpus != trained.corpus || corpus.sha256 == loaded.corpus_sha256, "eval", settings.corpus,
        " is not the text the model was trained on any more; name another one with --set corpus=file:PATH");
    const Measured measured = evaluate_model(loaded.model, settings, corpus, options.quiet);
    const std::string title = fmt::format(
        "Evaluation of {} after {} of {} steps{}", run.string(), loaded.step, trained.train.steps,
        other_encoding ? ", trained with " + trained.encoding.name + ", read with " + settings.encoding.name : "");
    print_checked(comparison_answer(title, "", {measured}, settings).text);
  });
  return 0;
}

// The sizes asked for, or else `defaults`, with the changes.
static std::vector<BenchSize> bench_sizes_of(const std::vector<std::string>& names,
                                             const std::vector<std::string>& defaults, const SettingsChanges& changes) {
  std::vector<BenchSize> sizes;
  for (const std::string& name : names.empty() ? defaults : names) {
    BenchSize size = bench_size_named(name);
    size.settings = apply(size.settings, changes);
    if (!changes.assignments.empty()) size.name += " with --set";
    require_memory(size.settings);
    ParameterList learned;
    encoding_named(size.settings.encoding.name).make(model_shape(size.settings).attention(), learned);
    sizes.push_back(size);
  }
  return sizes;
}

int bench_command(const BenchArguments& arguments, const SettingsChanges& changes, const RunOptions& options) {
  require<UsageError>(arguments.against.empty() || arguments.against == "torch", "bench", "--against is ",
                      arguments.against, "; the only one known is torch");
  const std::string& name = arguments.name;
  std::vector<std::string> all;
  for (const BenchSize& size : bench_sizes()) all.push_back(size.name);
  const bool all_by_default = name == "memory" && !arguments.quick;
  const std::vector<std::string> defaults =
      all_by_default ? all : std::vector<std::string>{arguments.quick ? "tiny" : "reference"};
  const std::vector<BenchSize> sizes = bench_sizes_of(arguments.sizes, defaults, changes);
  require_address_space(thread_count(options));
  if (name == "ops" && !arguments.quick)
    require<ResourceError>(bytes_for_ops <= available_bytes(), "memory", "bench ops needs ", bytes_for_ops * 1e-6,
                           " MB, ", std::llround(available_bytes() * 1e-6), " MB are available");

  const BenchOptions how{.threads = thread_count(options), .quick = arguments.quick};
  const fs::path page = options.out.empty() ? fs::path("runs") / "scaling.html" : options.out;
  with_threads(how.threads, [&] {
    BenchResult result;
    if (name == "step") {
      result = bench_step(sizes, arguments.against.empty() ? Against::nothing : Against::torch, how);
    } else if (name == "attention") {
      result = bench_attention(how);
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

const Experiment& question_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, experiment] : questions()) {
    if (known == name) return experiment;
    names.push_back(known);
  }
  throw UsageError(unknown_name("question", name, names));
}

}  // namespace phasor
