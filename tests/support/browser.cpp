// The requests of the WebDriver protocol (https://www.w3.org/TR/webdriver2) and of Chromium's additions to it.
#include "tests/support/browser.hpp"

#include <fcntl.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <regex>
#include <stdexcept>
#include <thread>

namespace phasor::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::seconds start_limit(30), answer_limit(60);

const char* const packages = "; needs Debian's packages chromium and chromium-driver";

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("browser: " + what); }

// Starts chromedriver on a free port of its choice, its output in `log`. It leads its own process group, and ends when
// this thread does.
pid_t start_driver(const fs::path& log) {
  const std::string path = log.string();
  const pid_t process = fork();
  if (process == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    dup2(1, 2);
    execlp("chromedriver", "chromedriver", "--port=0", nullptr);
    _exit(127);
  }
  if (process < 0) fail("no process for chromedriver");
  setpgid(process, process);  // here too: whichever of the two comes first
  return process;
}

// The port that it says it listens on.
int port_of(pid_t driver, const fs::path& log) {
  const auto deadline = std::chrono::steady_clock::now() + start_limit;
  static const std::regex started(R"(started successfully on port (\d+))");
  while (std::chrono::steady_clock::now() < deadline) {
    const std::string text = text_of(log);
    std::smatch match;
    if (std::regex_search(text, match, started)) return std::stoi(match[1]);
    siginfo_t ended = {};  // WNOWAIT: stop() collects it
    waitid(P_PID, static_cast<id_t>(driver), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid != 0) {
      if (ended.si_code == CLD_EXITED && ended.si_status == 127) fail(std::string("no chromedriver") + packages);
      fail("chromedriver ended before it listened: " + text);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  fail("chromedriver does not listen after " + std::to_string(start_limit.count()) + " s: " + text_of(log));
}

// file://, with every byte that is not plain as %XX.
std::string address_of(const fs::path& file, const std::string& fragment) {
  static const std::string plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._~-";
  std::string address = "file://";
  for (const char c : fs::absolute(file).string()) {
    if (plain.find(c) != std::string::npos) {
      address += c;
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned char>(c));
      address += escaped;
    }
  }
  return fragment.empty() ? address : address + '#' + fragment;
}

json capabilities(const fs::path& profile) {
  // The pipe: a browser whose driver is gone ends. No name resolves: a page that asks for something is found out
  // without reaching it. A container's /dev/shm may be too small.
  const json arguments = {"--headless=new",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--disable-dev-shm-usage",
                          "--remote-debugging-pipe",
                          "--force-color-profile=srgb",
                          "--host-resolver-rules=MAP * ~NOTFOUND",
                          "--user-data-dir=" + profile.string()};
  return {{"alwaysMatch",
           {{"browserName", "chrome"},
            {"goog:chromeOptions", {{"args", arguments}}},
            {"goog:loggingPrefs", {{"browser", "ALL"}, {"performance", "ALL"}}}}}};
}

}  // namespace

Browser::Browser() {
  try {
    driver_ = start_driver(folder_ / "chromedriver.log");
    port_ = port_of(driver_, folder_ / "chromedriver.log");
    json made;
    try {
      made = call("POST", "/session", {{"capabilities", capabilities(folder_ / "profile")}});
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(error.what() + std::string(packages));
    }
    session_ = "/session/" + made.at("sessionId").get<std::string>();
  } catch (...) {
    stop();
    throw;
  }
}

Browser::~Browser() { stop(); }

void Browser::stop() {
  if (driver_ < 0) return;
  // Asked to, the browser ends with all its processes and writes no more into the profile; then by force, in any case.
  if (!session_.empty()) {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(start_limit);
    client.Delete(session_);
  }
  kill(-driver_, SIGKILL);
  waitpid(driver_, nullptr, 0);
  driver_ = -1;
}

json Browser::call(const std::string& method, const std::string& path, const json& body) {
  httplib::Client client("127.0.0.1", port_);
  client.set_read_timeout(answer_limit);
  const httplib::Result result =
      method == "GET"
          ? client.Get(session_ + path)
          : client.Post(session_ + path, (body.is_null() ? json::object() : body).dump(), "application/json");
  if (!result) fail(method + " " + path + ": " + httplib::to_string(result.error()));
  const json value = json::parse(result->body).at("value");
  if (result->status == 200) return value;
  const std::string message = value.value("message", "");
  fail(value.value("error", "error") + ": " + message.substr(0, message.find("\n  (Session info")));
}

json Browser::devtools(const std::string& command, const json& parameters) {
  return call("POST", "/goog/cdp/execute", {{"cmd", command}, {"params", parameters}});
}

void Browser::open(const fs::path& page, const View& view) {
  if (!fs::exists(page)) fail("no file " + page.string());
  call("POST", "/url", {{"url", "about:blank"}});  // what the page before still does is not this page's
  // Not the window: Chromium makes none narrower than 500 pixels.
  devtools("Emulation.setDeviceMetricsOverride",
           {{"width", view.width}, {"height", view.height}, {"deviceScaleFactor", 1}, {"mobile", false}});
  const std::string scheme = view.scheme == ColourScheme::dark ? "dark" : "light";
  const json feature = {{"name", "prefers-color-scheme"}, {"value", scheme}};
  devtools("Emulation.setEmulatedMedia", {{"features", json::array({feature})}});
  log("browser");
  log("performance");
  page_ = address_of(page, view.fragment);
  call("POST", "/url", {{"url", page_}});
}

json Browser::run(const std::string& script, const json& arguments) {
  return call("POST", "/execute/sync", {{"script", script}, {"args", arguments}});
}

json Browser::find(const std::string& element) {
  return call("POST", "/element", {{"using", "css selector"}, {"value", element}});
}

void Browser::move_mouse(const std::string& element, const json& then) {
  const json found = find(element);
  run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", json::array({found}));
  json steps = json::array({{{"type", "pointerMove"}, {"origin", found}, {"x", 0}, {"y", 0}, {"duration", 0}}});
  steps.insert(steps.end(), then.begin(), then.end());
  call("POST", "/actions", {{"actions", json::array({{{"type", "pointer"}, {"id", "mouse"}, {"actions", steps}}})}});
}

void Browser::hover(const std::string& element) { move_mouse(element, json::array()); }

void Browser::click(const std::string& element) {
  const json found = find(element);
  call("POST", "/element/" + found.begin().value().get<std::string>() + "/click");
}

void Browser::drag(const std::string& element, int right, int down) {
  const json press = {{"type", "pointerDown"}, {"button", 0}}, release = {{"type", "pointerUp"}, {"button", 0}};
  const json move = {
      {"type", "pointerMove"}, {"origin", "pointer"}, {"x", right}, {"y", down}, {"duration", 50}};  // milliseconds
  move_mouse(element, json::array({press, move, release}));
}

void Browser::press(const std::string& keys) {
  json steps = json::array();
  for (size_t at = 0; at < keys.size();) {  // a step holds one code point
    size_t next = at + 1;
    while (next < keys.size() && (static_cast<unsigned char>(keys[next]) & 0xC0) == 0x80) ++next;
    const std::string character = keys.substr(at, next - at);
    steps.push_back({{"type", "keyDown"}, {"value", character}});
    steps.push_back({{"type", "keyUp"}, {"value", character}});
    at = next;
  }
  call("POST", "/actions", {{"actions", json::array({{{"type", "key"}, {"id", "keyboard"}, {"actions", steps}}})}});
}

json Browser::log(const std::string& kind) { return call("POST", "/se/log", {{"type", kind}}); }

std::vector<std::string> Browser::messages() {
  std::vector<std::string> found;
  for (const json& entry : log("browser"))
    found.push_back(entry.at("level").get<std::string>() + ": " + entry.at("message").get<std::string>());
  return found;
}

std::vector<std::string> Browser::requests() {
  std::vector<std::string> found;
  for (const json& entry : log("performance")) {
    const json event = json::parse(entry.at("message").get<std::string>()).at("message");
    const json& parameters = event.at("params");
    if (event.at("method") == "Network.webSocketCreated") found.push_back(parameters.at("url"));
    if (event.at("method") != "Network.requestWillBeSent") continue;
    const std::string address = parameters.at("request").at("url");
    const bool is_page = parameters.value("type", "") == "Document" && page_.starts_with(address);
    if (!is_page && !address.starts_with("data:")) found.push_back(address);
  }
  return found;
}

void Browser::screenshot(const fs::path& png, Extent extent) {
  const json taken = devtools("Page.captureScreenshot", {{"captureBeyondViewport", extent == Extent::page}});
  const std::string text = taken.at("data");  // base64: three bytes in four characters
  std::string bytes(text.size() / 4 * 3, '\0');
  EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), reinterpret_cast<const unsigned char*>(text.data()),
                  static_cast<int>(text.size()));
  bytes.resize(bytes.size() - std::count(text.begin(), text.end(), '='));
  write_text(png, bytes);
}

Browser& browser() {
  static Browser shared;
  return shared;
}

}  // namespace phasor::testing
