// A headless Chromium for tests of pages, driven through chromedriver by the W3C WebDriver protocol. Tests that use it
// stand in doctest suite "full": the browser takes about a second to start.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/command.hpp"

namespace phasor::testing {

enum class ColourScheme { light, dark };

// How a page is looked at.
struct View {
  int width = 1280, height = 800;  // of the viewport, in CSS pixels
  ColourScheme scheme = ColourScheme::light;
  std::string fragment = {};  // of the URL, without the #
};

// Keys for Browser::press; any other text is typed as it stands.
namespace key {
inline const std::string tab = "\uE004", enter = "\uE007", end = "\uE010", home = "\uE011", left = "\uE012",
                         up = "\uE013", right = "\uE014", down = "\uE015", space = " ";
}

// Elements are named by CSS selectors. Whatever does not work throws std::runtime_error: a missing element, a click on
// something that lies behind another, a script that throws.
class Browser {
 public:
  Browser();   // throws where chromedriver or chromium are missing
  ~Browser();  // nothing of it keeps running, also when the test program dies
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  // A file, whatever its path holds. Returns when it is loaded; messages and requests count from here.
  void open(const std::filesystem::path& page, const View& view = {});

  // The body of a function with the values in `arguments`: run("return arguments[0] + 1", {2}) is 3. A promise is
  // awaited.
  nlohmann::json run(const std::string& script, const nlohmann::json& arguments = nlohmann::json::array());

  void hover(const std::string& element);
  void click(const std::string& element);
  // From the middle of the element, by so many CSS pixels.
  void drag(const std::string& element, int right, int down);
  // To the element that has the focus.
  void press(const std::string& keys);

  // Since the page was opened, in order: "SEVERE: ..." for errors and for exceptions that nobody caught, "WARNING:
  // ...", "INFO: ...". A message is given once.
  std::vector<std::string> messages();
  // The addresses that the page asked for after itself, given once; data: addresses are no request. What its
  // Content-Security-Policy forbids is a message, not a request.
  std::vector<std::string> requests();

  // What is in the viewport, or all of the page.
  enum class Extent { viewport, page };
  void screenshot(const std::filesystem::path& png, Extent extent = Extent::viewport);

 private:
  nlohmann::json call(const std::string& method, const std::string& path, const nlohmann::json& body = {});
  nlohmann::json devtools(const std::string& command, const nlohmann::json& parameters);
  nlohmann::json log(const std::string& kind);
  nlohmann::json find(const std::string& element);
  void move_mouse(const std::string& element, const nlohmann::json& then);
  void stop();

  TemporaryFolder folder_;  // the profile, and what chromedriver writes
  pid_t driver_ = -1;       // leads a process group, with the browser in it
  int port_ = 0;
  std::string session_;  // "/session/ID"
  std::string page_;     // its address
};

// One for all tests; starts when first asked for.
Browser& browser();

}  // namespace phasor::testing
