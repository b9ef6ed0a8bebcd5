// phasor dissect and phasor report, through the program: what they print and leave, that it repeats, and what is
// refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "core/error.hpp"
#include "experiments/dissect/dissection.hpp"
#include "experiments/dissect/measure.hpp"
#include "experiments/run_folder.hpp"
#include "tests/support/browser.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

int64_t lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

// A model of a second, trained with rope unless the changes say so.
struct Trained {
  TemporaryFolder folder;
  Trained() {
    std::string text;
    for (int line = 0; line < 900; ++line)
      text += "and the light was upon the water " + std::to_string(line * line % 97) + "\n";
    write_text(folder / "text.txt", text);
  }

  fs::path train(const std::string& name, const std::vector<std::string>& changes = {}) const {
    const CommandResult result = run_phasor(
        with_settings({"train", "--out", (folder / name).string(), "--quiet"},
                      {"corpus=file:" + (folder / "text.txt").string(), "train.steps=12", "train.batch=4",
                       "train.length=16", "train.warmup_steps=2", "model.width=16", "model.heads=2", "model.hidden=24",
                       "eval.bytes=512", "dissect.bytes=128", "dissect.windows=4", "dissect.sequences=8"},
                      changes));
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    return folder / name;
  }
};

CommandResult dissected(const fs::path& run, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"dissect", run.string(), "--quiet"});
  return run_phasor(more);
}

// The one line of a refusal.
std::string refusal(const CommandResult& result, int exit_code) {
  CHECK(result.exit_code == exit_code);
  CHECK(result.out == "");
  CHECK(lines_of(result.err) == 1);
  return result.err;
}

void check_columns(const std::string& text) {
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string line = text.substr(start, end - start);
    // Box-drawing characters and blocks are three bytes and one column.
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (!holds(line, "dissection.html")) CHECK_MESSAGE(columns <= 80, line);
    start = end + 1;
  }
}

}  // namespace

TEST_CASE("dissect: verdicts, a page, and every measurement in dissection.json") {
  const Trained place;
  const fs::path run = place.train("rope");
  const CommandResult result = dissected(run);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  for (const char* part :
       {"One training run: rope", "Claims of the paper, judged on one seed", "Does the model learn a U-shape?",
        "Which components carry the U?", "What does stopping components of a trained model cost",
        "change of the loss at L", "dissection.html"})
    CHECK_MESSAGE(holds(result.out, part), part);
  check_columns(result.out);
  const std::string page = text_of(run / "dissection.html");
  CHECK(holds(page, "default-src 'none'"));
  CHECK(holds(page, "./phasor dissect RUN --set dissect.sequences=8"));
  CHECK(holds(page, "./phasor dissect RUN --set &#39;dissect.lengths=[]&#39; --set dissect.windows=4"));
  CHECK(!holds(page, run.string()));
  const Dissection dissection = load_dissection(run / "dissection.json");
  CHECK(dissection.step == 12);
  for (const char* name : {"frequency",
                           "contribution_share",
                           "cumulative_contribution",
                           "score_range",
                           "beyond_range",
                           "score_beyond_range",
                           "leaves_range_at",
                           "norm",
                           "offset",
                           "offset_angle",
                           "massive",
                           "u_curve",
                           "u_bos",
                           "u_depth",
                           "u_depth_half_width",
                           "u_recency",
                           "u_component",
                           "u_share",
                           "u_activated",
                           "sink",
                           "attended_distance",
                           "peak_distance",
                           "entropy",
                           "normalised_entropy",
                           "head_score",
                           "decay",
                           "first_negative_distance",
                           "smallest_base",
                           "critical_dimension",
                           "angle_coverage",
                           "unseen_angles",
                           "contribution_by_step",
                           "contribution_share_by_step",
                           "u_depth_by_step",
                           "u_share_by_step",
                           "ablation",
                           "ablation_half_width",
                           "ablation_of_head",
                           "ablation_u_depth",
                           "ablation_head_score"})
    CHECK_MESSAGE(dissection.find(name), name);
  // Weights of 0 steps, of the snapshots at 1/8, 1/4 and 1/2, and of the end.
  CHECK(dissection.find("u_depth_by_step")->dimensions[0].numbers == std::vector<double>{0, 1, 3, 6, 12});
}

TEST_CASE("dissect: the same bytes for any number of threads, and from what was measured before") {
  const Trained place;
  const fs::path run = place.train("rope");
  std::map<std::string, std::string> first;
  for (const char* threads : {"1", "3"}) {
    fs::remove(run / "dissection.json");
    REQUIRE(dissected(run, {"--threads", threads}).exit_code == 0);
    for (const char* name : {"dissection.json", "dissection.html"}) {
      const std::string bytes = text_of(run / name);
      if (!first.contains(name)) first[name] = bytes;
      CHECK((bytes == first[name]));
    }
  }
  const auto written = fs::last_write_time(run / "dissection.json");
  REQUIRE(dissected(run).exit_code == 0);
  CHECK(fs::last_write_time(run / "dissection.json") == written);
  CHECK((text_of(run / "dissection.html") == first["dissection.html"]));
  // Another definition is another measurement.
  REQUIRE(dissected(run, {"--set", "dissect.edge=0.2"}).exit_code == 0);
  CHECK(load_dissection(run / "dissection.json").find("u_depth")->values !=
        load_dissection(run / "dissection.json").find("u_recency")->values);
  CHECK((text_of(run / "dissection.json") != first["dissection.json"]));
  CHECK(holds(text_of(run / "dissection.html"), "first 20 % of the keys"));
}

TEST_CASE("dissect: a damaged dissection.json is measured again, and that is said") {
  const Trained place;
  const fs::path run = place.train("rope");
  REQUIRE(dissected(run).exit_code == 0);
  const std::string whole = text_of(run / "dissection.json");
  write_text(run / "dissection.json", whole.substr(0, whole.size() / 2));
  const CommandResult again = dissected(run);
  CHECK(again.exit_code == 0);
  CHECK(holds(again.err, "dissection.json is damaged"));
  CHECK((text_of(run / "dissection.json") == whole));
}

TEST_CASE("dissect --export and --site: CSV and Vega-Lite of every figure, and arrays for NumPy") {
  const Trained place;
  const fs::path run = place.train("rope");
  const CommandResult result = dissected(run, {"--export", "--site", "q_rotated", "--site", "pattern"});
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  int figures = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(run / "figures")) {
    if (entry.path().extension() != ".csv" || entry.path().stem() == "verdicts") continue;
    ++figures;
    const std::string name = entry.path().stem().string(), csv = text_of(entry.path());
    CAPTURE(name);
    CHECK(csv.starts_with("encoding,"));
    CHECK(lines_of(csv) > 1);
    CHECK(holds(text_of(run / ("figures/" + name + ".vl.json")), "\"" + name + ".csv\""));
    CHECK(holds(text_of(run / "dissection.html"), "figure-" + name));
  }
  CHECK(figures >= 20);
  const std::string verdicts = text_of(run / "figures/verdicts.csv");
  CHECK(verdicts.starts_with("figure,question,verdict,claim,measured\nu_curve,Does the model learn a U-shape?,"));
  CHECK(lines_of(verdicts) >= 7);
  CHECK(fs::file_size(run / "figures/rope-seed1.npz") > 1000);
}

TEST_CASE("dissect refuses what it cannot take apart, in one line, before any work") {
  const Trained place;
  const fs::path run = place.train("rope");
  CHECK(holds(refusal(dissected(place.folder / "none"), 3), "none\" is not a folder"));
  CHECK(holds(refusal(dissected(place.train("nope", {"encoding.name=nope"})), 2),
              "dissect: nope turns no components; needs an encoding with a rotation, such as rope or hope"));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.layer=2"}), 2), "dissect.layer is 2; the model has 0 to 1"));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.head=7"}), 2), "dissect.head is 7; the model has 0 to 1"));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.lengths=[16,1000000]", "--set", "dissect.bytes=2000000"}), 5),
              "memory: scores of 1000000 tokens need at least "));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.lengths=[4,8]"}), 2),
              "dissect.lengths end at 8, before train.length; needs at least 16"));
  CHECK(holds(refusal(dissected(place.train("short", {"train.length=4"})), 2),
              "train.length is 4; the head scores need at least 5"));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.lengths=[256]"}), 2),
              "dissect.bytes must hold a window of the longest length: 128 < 256"));
  CHECK(holds(refusal(dissected(run, {"--set", "train.steps=13"}), 2),
              "train.steps (12 there, 13 here); only dissect.*"));
  CHECK(holds(refusal(dissected(run, {"--set", "dissect.edgy=1"}), 2), "did you mean 'dissect.edge'?"));
  CHECK(holds(refusal(dissected(run, {"--site", "q_rotatd"}), 2), "did you mean 'q_rotated'?"));
  CHECK(holds(refusal(dissected(run, {"--site", "q_far"}), 2), "site q_far is of encodings with a far rotation"));
  {
    const RunFolder held(run, settings_of_run(run), Resume::yes);
    CHECK(holds(refusal(dissected(run), 6), "another run holds"));
  }
  CHECK(!fs::exists(run / "dissection.json"));

  fs::create_directory(place.folder / "untrained");
  fs::copy_file(run / "settings.toml", place.folder / "untrained/settings.toml");
  CHECK(holds(refusal(dissected(place.folder / "untrained"), 3), "holds no checkpoint; train first"));
  std::string settings = text_of(run / "settings.toml");
  write_text(run / "settings.toml", settings + "\n[future]\nsetting = 1\n");
  CHECK(holds(refusal(dissected(run), 3), "was made by another version of phasor, or changed by hand"));
  write_text(run / "settings.toml", settings);
  write_text(place.folder / "text.txt", "another text " + text_of(place.folder / "text.txt"));
  CHECK(holds(refusal(dissected(run), 3), "is not the text that"));
}

TEST_CASE("dissect: the memory that it asks for is what the patterns of the longest texts take") {
  // One window of 4096 tokens and two heads: 2^25 pairs, 134 MB in f32, of which there are four at a time.
  Settings s;
  s.model.heads = 2;
  s.dissect.lengths = {4096};
  CHECK_NOTHROW(require_dissectable(s, 540e6));
  CHECK_THROWS_WITH_AS(require_dissectable(s, 500e6), doctest::Contains("need at least 537 MB, 500 MB are available"),
                       ResourceError);
  s.dissect.lengths = {512};  // eight windows at once
  CHECK_THROWS_AS(require_dissectable(s, 60e6), ResourceError);
}

TEST_CASE("report: several runs side by side, seeds averaged, others told apart; what is missing is said") {
  const Trained place;
  const fs::path rope = place.train("rope"), second = place.train("rope2", {"train.seed=2"}),
                 hope = place.train("hope", {"encoding.name=hope"}), wide = place.train("wide", {"model.hidden=32"});
  for (const fs::path& run : {rope, second, hope}) REQUIRE(dissected(run).exit_code == 0);
  const fs::path page = place.folder / "side by side.html";
  const auto report = [&](std::vector<fs::path> runs) {
    std::vector<std::string> arguments = {"report", "--out", page.string()};
    for (const fs::path& run : runs) arguments.push_back(run.string());
    const CommandResult result = run_phasor(arguments);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    return result.out;
  };
  const std::string both = report({rope, second, hope});
  CHECK(holds(both, "Runs side by side"));
  CHECK(holds(both, "What does HoPE change?"));
  CHECK(!holds(both, "Not all of it is here"));
  CHECK(holds(text_of(page), "(2 seeds)"));
  Dissection early = load_dissection(second / "dissection.json");
  const Dissection late = early;
  early.step = 6;
  save_dissection(second / "dissection.json", early);
  CHECK(holds(report({rope, second}), "rope seed 2 was dissected after 6 steps, seed 1 after 12"));
  CHECK(!holds(text_of(page), "(2 seeds)"));
  save_dissection(second / "dissection.json", late);
  CHECK(holds(report({rope, wide}), "rope (wide)"));
  CHECK(holds(text_of(page), "rope (wide): model.hidden (24 there, 32 here)"));
  const fs::path other_base = place.train("other_base", {"encoding.base=500"});
  report({rope, other_base});
  CHECK(holds(text_of(page), "rope (other_base): encoding.base (10000.0 there, 500.0 here)"));
  fs::copy(rope, place.folder / "copy", fs::copy_options::recursive);
  CHECK(holds(refusal(run_phasor({"report", rope.string(), (place.folder / "copy").string()}), 2),
              "hold the same training, rope with seed 1; name each once"));

  // Different training lengths: no length is L, and where nothing was measured there is a dash.
  const fs::path longer = place.train("longer", {"train.length=24", "eval.lengths=[24,48]"});
  REQUIRE(dissected(longer).exit_code == 0);
  const std::string lengths = report({rope, longer});
  CHECK(holds(lengths, "  16       24       32       48  "));
  CHECK(!holds(lengths, "= L"));
  CHECK(!holds(lengths, "nan"));
  CHECK(holds(text_of(page), "L of rope (longer)"));

  fs::remove(hope / "results.csv");
  write_text(rope / "results.csv", "encoding\n");
  write_text(second / "dissection.json", "{");
  const std::string partly = report({rope, second, hope});
  CHECK(holds(partly, "the results of rope seed 1 of rope are damaged"));
  CHECK(holds(partly, "the dissection of rope seed 2 of rope2 is damaged"));
  CHECK(holds(partly, "hope seed 1 of hope is not finished (12 of 12 steps)"));
  CHECK(holds(text_of(page), "class=\"banner\""));
  CHECK(refusal(run_phasor({"report", (place.folder / "none").string()}), 3) != "");
}

TEST_CASE("dissect: every figure of the page is drawn in a browser, at each layer, head and step" *
          doctest::test_suite("full")) {
  const Trained place;
  const fs::path rope = place.train("rope"), hope = place.train("hope", {"encoding.name=hope"});
  for (const fs::path& run : {rope, hope}) REQUIRE(dissected(run).exit_code == 0);
  const fs::path file = place.folder / "both.html";
  REQUIRE(run_phasor({"report", rope.string(), hope.string(), "--out", file.string()}).exit_code == 0);
  for (const ColourScheme scheme : {ColourScheme::light, ColourScheme::dark}) {
    Browser& page = browser();
    page.open(file, {.width = scheme == ColourScheme::light ? 1280 : 400, .scheme = scheme});
    const auto check_drawn = [&] {
      CHECK(page.run(R"(
          return [...document.querySelectorAll('article.figure')].filter(figure =>
              !figure.querySelector('.drawing .curve, .drawing .marker, .drawing canvas')).map(figure => figure.id))") ==
            nlohmann::json::array());
    };
    CHECK(page.run("return document.querySelectorAll('article.figure').length").get<int>() >= 25);
    check_drawn();
    // Each control in turn: the first of its buttons, the start of its slider.
    CHECK(page.run(R"(
        let moved = 0;
        for (const button of document.querySelectorAll('article.figure button[aria-pressed=false]')) {
          button.click();
          ++moved;
        }
        for (const slider of document.querySelectorAll('article.figure input[type=range]')) {
          slider.value = slider.min;
          slider.dispatchEvent(new Event('input', {bubbles: true}));
          ++moved;
        }
        return moved)")
              .get<int>() > 40);
    check_drawn();
    CHECK(page.messages() == std::vector<std::string>());
    CHECK(page.requests() == std::vector<std::string>());
    CHECK(page.run("return document.documentElement.scrollWidth <= innerWidth") == true);
  }
}

TEST_CASE("report: a dissection that lacks a measurement renders, and says so") {
  const Trained place;
  const fs::path run = place.train("rope");
  REQUIRE(dissected(run).exit_code == 0);
  const Dissection whole = load_dissection(run / "dissection.json");
  for (const Measurement& lost : whole.measurements) {
    CAPTURE(lost.name);
    Dissection partly = whole;
    std::erase_if(partly.measurements, [&](const Measurement& m) { return m.name == lost.name; });
    save_dissection(run / "dissection.json", partly);
    CHECK(run_phasor({"report", run.string()}).exit_code == 0);
    // One of other dimensions, as another version may have it.
    partly.measurements.push_back(Measurement(lost.name, {indices("layer", 1), indices("else", 2), indices("more", 1),
                                                          indices("and", 1), indices("on", 1), indices("top", 1)}));
    save_dissection(run / "dissection.json", partly);
    CHECK(run_phasor({"report", run.string()}).exit_code == 0);
  }
  Dissection without_depth = whole;
  std::erase_if(without_depth.measurements, [](const Measurement& m) { return m.name == "u_depth"; });
  save_dissection(run / "dissection.json", without_depth);
  CHECK(holds(run_phasor({"report", run.string()}).out, "Does the model learn a U-shape? undecided"));
  CHECK(holds(text_of(run / "dissection.html"), "u_depth of rope was not measured"));
}

TEST_CASE("dissect: of a question with other encodings, those that turn components are taken apart") {
  const Trained place;
  const fs::path out = place.folder / "all";
  const std::vector<std::string> settings = {"corpus=file:" + (place.folder / "text.txt").string(),
                                             "run.encodings=[rope,alibi]",
                                             "run.seeds=1",
                                             "train.steps=4",
                                             "train.batch=4",
                                             "train.length=16",
                                             "train.warmup_steps=2",
                                             "model.width=16",
                                             "model.hidden=24",
                                             "eval.bytes=512",
                                             "dissect.bytes=128",
                                             "dissect.windows=4",
                                             "dissect.sequences=8"};
  const CommandResult run =
      run_phasor(with_settings({"run", "all_encodings", "--quiet", "--out", out.string()}, settings, {}));
  REQUIRE_MESSAGE(run.exit_code == 0, run.err);
  const CommandResult result = dissected(out);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.err == "left out, because they turn no components: alibi\n");
  CHECK(fs::exists(out / "rope-seed1/dissection.json"));
  CHECK(!fs::exists(out / "alibi-seed1/dissection.json"));
  CHECK(holds(result.out, "alibi"));  // in the tables of perplexity
}
