// The explorer in a browser: what it computes is what the library computes, and what the reader does moves what it
// should.
#include "experiments/explorer/explorer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/positional/rotation_tables.hpp"
#include "tests/support/browser.hpp"
#include "tests/support/refusal.hpp"

namespace phasor {
namespace {

using nlohmann::json;
using testing::Browser;
using testing::browser;
using testing::ColourScheme;

Settings start_of(const std::vector<std::string>& assignments) {
  return apply(explorer_defaults(), {.config = {}, .assignments = assignments});
}

// A page in a folder of its own, opened.
class OpenPage {
 public:
  explicit OpenPage(const std::vector<std::string>& assignments = {}, const testing::View& view = {}) {
    testing::write_text(folder_ / "explorer.html", explorer_page(start_of(assignments)));
    open(view);
  }
  void open(const testing::View& view) const { browser().open(folder_ / "explorer.html", view); }

 private:
  testing::TemporaryFolder folder_;
};

json run(const std::string& script, const json& arguments = json::array()) { return browser().run(script, arguments); }

std::string text_of(const std::string& element) {
  return run("return document.querySelector(arguments[0]).textContent", {element});
}

// As a reader would write it: minus sign and all.
double number_of(std::string text) {
  if (text.starts_with("−")) text = "-" + text.substr(std::string("−").size());
  return std::stod(text);
}

// The three numbers below the bars: sum of the parts, score, the same of RoPE.
std::vector<double> identity() {
  std::vector<double> numbers;
  for (const json& text : run("return [...document.querySelectorAll('#identity b')].map(b => b.textContent)"))
    numbers.push_back(number_of(text));
  return numbers;
}

double sum_of_cosines(const Spectrum& spectrum, double distance) {
  double sum = 0;
  for (const Component& c : spectrum) sum += c.gain * c.gain * std::cos(c.frequency * distance);
  return sum;
}

void set_slider(const std::string& id, double value) {
  run("const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))",
      {id, value});
}

void choose(const std::string& id, const std::string& value) {
  run("const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))",
      {id, value});
}

// What a component's part of the score is for q = k, and for a k that is a quarter turn from q: gain * decay * cosine
// and sine of the angle. Both from the tables that turn queries and keys.
std::pair<double, double> parts_of_tables(const PositionalEncoding& encoding, int64_t component, double distance) {
  if (!encoding.rotation) return {1, 0};
  const RotaryTables q = tables_at(encoding, at_position(distance)), k = tables_at(encoding, at_position(0));
  if (component >= q.q_cos.extent(3)) return {1, 0};
  const auto at = [&](const Var& table) { return table.value().view<double>()(0, 0, 0, component); };
  return {at(q.q_cos) * at(k.k_cos) + at(q.q_sin) * at(k.k_sin), at(q.q_sin) * at(k.k_cos) - at(q.q_cos) * at(k.k_sin)};
}

TEST_SUITE("full") {
  TEST_CASE("explorer: frequencies and parts of the score are those of the library's encodings") {
    const OpenPage page;
    CHECK(run("return Object.keys(encodings)") == json(explorer_encodings()));
    for (const std::string& name : explorer_encodings())
      CHECK(run("return encodings[arguments[0]].readsRope ?? false", {name}) == encoding_named(name).reads_rope);
    const std::vector<double> distances = {0, 1, 37, 1000};
    for (const int64_t head : {8, 10, 64, 128})
      for (const double base : {500.0, 10000.0, 500000.0})
        for (const int64_t length : {16, 128, 4096})
          for (const double factor : {1.0, 8.0}) {
            AttentionShape shape = shape_of(head, length, factor, base);
            shape.fraction = factor == 1 ? 0.25 : 0.7;
            const json settings = {
                {"head", head}, {"base", base}, {"length", length}, {"factor", factor}, {"fraction", shape.fraction}};
            const json all = run(
                "return Object.entries(encodings).map(([name, e]) => e.components(arguments[0]).map(c => [c.frequency, "
                "arguments[1].map(d => [part(c, [0, 1], [0, 1], d), part(c, [0, 1], [-1, 0], d)])]))",
                {settings, distances});
            for (size_t i = 0; i < explorer_encodings().size(); ++i) {
              INFO(explorer_encodings()[i] << " " << settings.dump());
              const PositionalEncoding encoding = made(explorer_encodings()[i], shape);
              REQUIRE(all[i].size() == static_cast<size_t>(head / 2));
              double worst = 0;
              for (int64_t c = 0; c < head / 2; ++c) {
                const bool turns = encoding.rotation && c < encoding.rotation->spectrum->size();
                const double frequency = turns ? (*encoding.rotation->spectrum)[c].frequency : 0;
                CHECK(close(all[i][c][0], frequency));
                for (size_t at = 0; at < distances.size(); ++at) {
                  const auto [cosine, sine] = parts_of_tables(encoding, c, distances[at]);
                  worst = std::max({worst, std::abs(all[i][c][1][at][0].get<double>() - cosine),
                                    std::abs(all[i][c][1][at][1].get<double>() - sine)});
                }
              }
              // An angle of 1000 rad carries 1e-13; gains are below 1.5.
              CHECK(worst <= 1e-12);
            }
          }
  }

  TEST_CASE("explorer: HoPE stops as many hands as its rule says, with the reason, and leaves no angle unseen") {
    const OpenPage page;
    for (const auto& [length, turning] : {std::pair{"128", 11}, {"512", 16}, {"4096", 23}}) {
      choose("length", length);
      CHECK(text_of("#summary").find("HoPE: " + std::to_string(turning) + " of 32 components turn.") == 0);
      CHECK(text_of("#summary").find("No angle is new beyond L.") != std::string::npos);
      for (const int component : {turning - 1, turning}) {
        const std::string card = "#hand_" + std::to_string(component);
        const bool stops = component == turning;
        CHECK((text_of(card).find("stands still") != std::string::npos) == stops);
        CHECK((text_of(card).find("> L") != std::string::npos) == stops);
        CHECK(run("return document.querySelectorAll(arguments[0]).length", {card + " .arc_seen"}) == (stops ? 0 : 1));
      }
      CHECK(text_of("#rope_unseen_caption") == "RoPE: " + std::to_string(32 - turning) + " of 32 show new angles");
      CHECK(text_of("#unseen_caption") == "HoPE: 0 of 32 show new angles");
      CHECK(run("return document.querySelectorAll('#rope_unseen .unseen_bar').length") == 32 - turning);
      CHECK(run("return document.querySelectorAll('#hands .arc_unseen').length") == 0);
    }
  }

  TEST_CASE("explorer: angles are new where a longer text takes a hand beyond what training showed") {
    const OpenPage page({"encoding.factor=6"});
    // A fixed fraction of 24 turning hands keeps 13 that do not come round within 128 tokens. What is made for a model
    // trained with RoPE is to stay within RoPE's angles; a larger base does so for its last component only.
    for (const auto& [encoding, fresh] : {std::pair<std::string, std::string>{"rope", "11 to 31"},
                                          {"p_rope", "11 to 23"},
                                          {"ntk", "11 to 30"},
                                          {"interpolation", ""},
                                          {"ntk_by_parts", ""},
                                          {"yarn", ""},
                                          {"llama3", ""},
                                          {"nope", ""}}) {
      INFO(encoding);
      choose("encoding", encoding);
      const std::string says = fresh.empty()
                                   ? "No angle is new beyond L."
                                   : "Components " + fresh + " show angles beyond L that training never showed.";
      CHECK(text_of("#summary").find(says) != std::string::npos);
    }
    // Component 20 of RoPE: 128 * 10000^(-20/32) of 2 pi within L, 6 times as much in all.
    choose("encoding", "rope");
    CHECK(text_of("#numbers tr:nth-child(21) td:nth-child(6)") == "32 %");
    for (const int distance : {128, 129, 768}) {
      set_slider("distance", distance);
      CHECK(run("return isUnseen(componentsOf(state)[20], state, state.distance)") == (distance > 128));
    }
  }

  TEST_CASE("explorer: the sums shown at a distance are the library's") {
    const OpenPage page({"encoding.name=yarn", "encoding.base=500", "train.length=64"});
    browser().click("#reset");
    for (const std::string encoding : {"yarn", "hope", "interpolation"}) {
      choose("encoding", encoding);
      for (const double distance : {0.0, 1.0, 100.0, 512.0}) {
        set_slider("distance", distance);
        const AttentionShape shape = shape_of(64, 64, 8, 500);
        const double sum = sum_of_cosines(*made(encoding, shape).rotation->spectrum, distance);
        const double ropes = sum_of_cosines(Spectrum::geometric(32, 500), distance);
        const std::vector<double> shown = identity();
        REQUIRE(shown.size() == 3);
        INFO(encoding << " " << distance);
        CHECK(std::abs(shown[0] - sum) < 5.1e-4);  // three decimals
        CHECK(shown[1] == shown[0]);
        CHECK(std::abs(shown[2] - ropes) < 5.1e-4);
      }
    }
    run("document.querySelector('details').open = true");
    CHECK(run("return document.querySelectorAll('#numbers tr').length") == 32);
    CHECK(text_of("#numbers tr:nth-child(2) td:nth-child(3)") == "61.04");  // 8 * 2 pi * 500^(1/32)
  }

  TEST_CASE("explorer: the map has the reports' colours, and component 0 in its lowest row") {
    const OpenPage page;
    for (const ColourScheme scheme : {ColourScheme::light, ColourScheme::dark}) {
      page.open({.scheme = scheme});
      // The first pixel of the top row, where HoPE's last component stands at 1, and the colours of the lowest.
      const json colors = run(R"(
          const image = new Image();
          image.src = document.querySelector('#map image').getAttribute('href');
          return image.decode().then(() => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const row = (y) => new Uint32Array(context.getImageData(0, y, image.width, 1).data.buffer);
            const top = new Set(row(0)), bottom = new Set(row(image.height - 1));
            return {height: image.height, top: top.size, bottom: bottom.size, one: [...top][0], expected:
                    colorTable(true)[Math.round(255 * 2.5 / 3)], bar: document.getElementById('scale').style.background};
          }))");
      CHECK(colors["height"] == 32);
      CHECK(colors["top"] == 1);
      CHECK(colors["bottom"] > 50);
      CHECK(colors["one"] == colors["expected"]);
      const auto one = colors["one"].get<uint32_t>();
      CHECK((one & 0xFF) > (one >> 16 & 0xFF));  // red, and so warm
      CHECK(colors["bar"].get<std::string>().find("rgb") != std::string::npos);
    }
  }

  TEST_CASE("explorer: nothing is asked for and nothing goes wrong, in any encoding, scheme and width") {
    const OpenPage page;
    const std::vector<testing::View> views = {{.width = 400}, {.scheme = ColourScheme::dark}};
    for (const testing::View& view : views) {
      page.open(view);
      for (const std::string& encoding : explorer_encodings())
        for (const std::string changes : {"axis=log&distance=5", "axis=linear&head=8&length=16&factor=1&base=1e7",
                                          "head=128&length=8192&factor=64&base=10&distance=524288&others=random"}) {
          INFO(encoding << " " << changes << " " << view.width);
          const json wrong = run(R"(
              read(arguments[0]);
              draw();
              const wrong = [], end = document.documentElement;
              if (document.querySelectorAll('.hand').length !== state.head / 2) wrong.push('hands');
              for (const drawing of document.querySelectorAll('figure:not([hidden]) .drawing'))
                if (drawing.querySelectorAll('svg *').length < 5) wrong.push('empty: ' + drawing.id);
              for (const element of document.querySelectorAll('main *')) {
                const texts = [...element.attributes].map(a => a.value).filter(value => !value.startsWith('data:'));
                if (element.children.length === 0) texts.push(element.textContent);
                wrong.push(...texts.filter(text => /NaN|Infinity|undefined/.test(text)));
              }
              if (end.scrollWidth > end.clientWidth) wrong.push('wider than the page: ' + end.scrollWidth);
              return wrong;)",
                                 {"encoding=" + encoding + "&" + changes});
          CHECK(wrong == json::array());
        }
    }
    CHECK(browser().messages() == std::vector<std::string>{});
    CHECK(browser().requests() == std::vector<std::string>{});
    const std::string text = explorer_page(explorer_defaults());
    CHECK(text.size() < 1000000);
    CHECK(text.find("default-src 'none'") != std::string::npos);
    CHECK(run("return limits") == json({{"length", {16, 8192}},
                                        {"factor", {1, 64}},
                                        {"base", {10, 1e7}},
                                        {"head", {8, 128}},
                                        {"fraction", {0.25, 1}}}));
    CHECK(text.find("unsafe-eval") == std::string::npos);
    // A script that is not its own does not run.
    run("const s = document.createElement('script'); s.textContent = 'window.other = 1'; document.body.append(s)");
    CHECK(run("return window.other ?? 'did not run'") == "did not run");
  }

  TEST_CASE("explorer: the reader's hand moves what it should, and nothing else") {
    const OpenPage page({"train.length=64"});
    const auto bars = [] {
      return run("return [...document.querySelectorAll('#parts .part')].map(b => b.getAttribute('height'))");
    };
    const auto pointer = [](int component) {
      return run("return document.querySelector(arguments[0]).getAttribute('d')",
                 {"#hand_" + std::to_string(component) + " .pointer"});
    };
    // q and k of component 12, by mouse and by keys.
    for (const std::string name : {"q", "k"}) {
      const json before = bars();
      const std::vector<double> score = identity();
      if (name == "q") {
        browser().drag("#handle_q .grip", 30, 40);
      } else {
        run("document.getElementById('handle_k').focus()");
        browser().press(testing::key::up + testing::key::right);
      }
      const json after = bars();
      for (size_t i = 0; i < after.size(); ++i) CHECK((before[i] != after[i]) == (i == 12));
      CHECK(identity()[0] != score[0]);
      CHECK(identity()[0] == identity()[1]);
    }
    CHECK(std::abs(run("return state.k[0]").get<double>() + 0.5) < 1e-9);
    CHECK(std::abs(run("return state.k[1]").get<double>() - 1.3) < 1e-9);

    // The distance turns the hands that turn.
    const json first = pointer(0), stopped = pointer(31);
    run("document.getElementById('distance').focus()");
    browser().press(testing::key::right + testing::key::right);
    CHECK(text_of("#distance_shown") == "130 tokens > L");
    CHECK(pointer(0) != first);
    CHECK(pointer(31) == stopped);
    browser().click("#play");
    run("return new Promise(done => setTimeout(done, 700))");
    browser().click("#play");
    const double reached = run("return state.distance");
    CHECK(reached > 130);
    CHECK(reached == std::round(reached));

    // A card, a row of the map and the list choose the component; sliders and presets the settings.
    browser().click("#hand_3");
    CHECK(run("return document.getElementById('component').value") == "3");
    CHECK(run("return [...document.querySelectorAll('.hand[aria-pressed=true]')].map(h => h.id)") == json({"hand_3"}));
    CHECK(run("return document.activeElement.id") == "hand_3");
    browser().click("#map");
    CHECK(run("return state.component").get<int>() > 10);
    // A tenth of the map above its lowest row.
    run(R"(
        const map = document.querySelector('#map image').getBoundingClientRect(), clientY = map.bottom - map.height / 10;
        document.querySelector('#map svg').dispatchEvent(new MouseEvent('click', {clientY})))");
    CHECK(run("return state.component") == 3);
    run("document.getElementById('length_range').focus()");
    browser().press(testing::key::right);
    CHECK(run("return [state.length, document.getElementById('length').value]") == json({128, "128"}));
    browser().click("#presets button:nth-of-type(5)");
    CHECK(run("return [state.encoding, state.length, state.head, state.base]") == json({"llama3", 8192, 128, 5e5}));
    choose("others", "none");
    CHECK(run("return vectors(state).filter(v => v.q[0] !== 0 || v.q[1] !== 0).length") == 1);
    CHECK(browser().messages() == std::vector<std::string>{});
  }

  TEST_CASE("explorer: the address keeps the settings, and no address breaks the page") {
    const OpenPage page;
    choose("encoding", "yarn");
    choose("length", "300");
    set_slider("distance", 77);
    const std::string address = run("return new Promise(done => setTimeout(() => done(location.hash), 500))");
    const json state = run("return state");
    page.open({.fragment = address.substr(1)});
    CHECK(run("return state") == state);
    CHECK(text_of("#distance_shown") == "77 tokens");
    for (const std::string fragment :
         {"encoding=<img src=x onerror=alert(1)>&length=1e999&base=-5&head=7&factor=NaN&q=1,2,3&k=9,-9&component=-3",
          "__proto__=1&constructor=2&toString=3&distance=1e300&axis=curved&others=&length=", "%E0%A4%A&&&==&encoding",
          "head=9.9&length=17.5&component=1e9&fraction=0&base=Infinity"}) {
      INFO(fragment);
      page.open({.fragment = fragment});
      CHECK(
          run("return Object.entries(limits).every(([key, [low, high]]) => state[key] >= low && state[key] <= high)") ==
          true);
      CHECK(run("return [state.head % 2, state.length % 1, state.distance % 1, Object.keys(state).length]") ==
            json({0, 0, 0, 12}));
      CHECK(run("return document.querySelectorAll('.hand').length === state.head / 2") == true);
      CHECK(browser().messages() == std::vector<std::string>{});
      CHECK(browser().requests() == std::vector<std::string>{});
    }
  }
}

TEST_CASE("explorer: the command writes a page that begins as asked; what it cannot show is refused in a line") {
  const testing::TemporaryFolder folder;
  const std::string file = (folder / "a page é.html").string();
  const testing::CommandResult result = testing::run_phasor(
      {"explore", "--encoding", "yarn", "--set", "encoding.base=500", "--set", "train.length=64", "--out", file});
  CHECK(result.exit_code == 0);
  CHECK(result.out == file + "\n");
  CHECK(testing::text_of(file).find("data-start=\"encoding=yarn&amp;base=500&amp;head=64&amp;length=64&amp;") !=
        std::string::npos);

  const auto refused = [](const std::vector<std::string>& assignments) {
    return refusal([&] { explorer_page(start_of(assignments)); });
  };
  const auto says = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(says(refused({"encoding.name=alibi"}),
             "explore: alibi has no table of frequencies that its settings fix; needs"));
  CHECK(says(refused({"encoding.name=<script>"}), "no encoding named '<script>'"));
  CHECK(says(refused({"train.length=15"}), "explore: train.length is 15; the page shows 16 to 8192"));
  CHECK(says(refused({"train.length=8193"}), "8193"));
  CHECK(says(refused({"encoding.base=9"}), "explore: encoding.base is 9; the page shows 10 to 1e+07"));
  CHECK(says(refused({"encoding.factor=65"}), "encoding.factor is 65; the page shows 1 to 64"));
  CHECK(says(refused({"encoding.fraction=0.2"}), "encoding.fraction is 0.2; the page shows 0.25 to 1"));
  CHECK(says(refused({"model.width=512"}), "is 256; the page shows 8 to 128"));
  CHECK(says(refused({"model.width=18", "model.heads=2"}), "must be even: 18 / 2 = 9"));
  CHECK(says(refused({"train.steps=700"}), "explore: the page knows nothing of train.steps"));
  CHECK(says(refused({"encoding.layout=interleaved"}), "encoding.layout"));
  const testing::CommandResult wrong = testing::run_phasor({"explore", "--set", "train.length=8", "--out", file});
  CHECK(wrong.exit_code == 2);
  CHECK(std::count(wrong.err.begin(), wrong.err.end(), '\n') == 1);
  const testing::CommandResult nowhere = testing::run_phasor({"explore", "--out", (folder / "none" / "x").string()});
  CHECK(nowhere.exit_code == 5);
  CHECK(std::count(nowhere.err.begin(), nowhere.err.end(), '\n') == 1);
}

}  // namespace
}  // namespace phasor
