// The browser of the tests sees what a page does wrong.
#include <doctest/doctest.h>

#include "tests/support/browser.hpp"

namespace phasor::testing {
namespace {

using nlohmann::json;

bool has(const std::vector<std::string>& texts, const std::string& part) {
  for (const std::string& text : texts)
    if (text.find(part) != std::string::npos) return true;
  return false;
}

TEST_SUITE("full") {
  TEST_CASE("browser: a page that does nothing has no messages and no requests") {
    const TemporaryFolder folder;
    write_text(folder / "quiet # 100 %?é.html",
               "<!DOCTYPE html><title>quiet</title><img src='data:image/gif;base64,'>");
    browser().open(folder / "quiet # 100 %?é.html", {.fragment = "a=1"});
    CHECK(browser().run("return document.title") == "quiet");
    CHECK(browser().run("return location.hash") == "#a=1");
    CHECK(browser().messages().empty());
    CHECK(browser().requests().empty());
  }

  TEST_CASE("browser: errors, exceptions and requests of a page are seen, and only those of this page") {
    const TemporaryFolder folder;
    write_text(folder / "loud.html",
               "<!DOCTYPE html><link rel=stylesheet href='beside.css'><img src='http://127.0.0.1:9/picture.png'>"
               "<script>console.error('told'); setTimeout(() => { throw new Error('thrown'); }, 0);"
               "fetch('http://nowhere.example/data').catch(() => 0);"
               "new WebSocket('ws://127.0.0.1:9/socket');</script>");
    write_text(folder / "quiet.html", "<!DOCTYPE html><p>");
    browser().open(folder / "loud.html");
    browser().run("return new Promise(resolve => setTimeout(resolve, 50))");
    const std::vector<std::string> messages = browser().messages(), requests = browser().requests();
    CHECK(has(messages, "SEVERE: "));
    CHECK(has(messages, "told"));
    CHECK(has(messages, "thrown"));
    for (const char* const part : {"/beside.css", "/picture.png", "nowhere.example/data", "ws://127.0.0.1:9/socket"})
      CHECK_MESSAGE(has(requests, part), part);
    CHECK(requests.size() == 4);
    browser().open(folder / "quiet.html");
    CHECK(browser().messages().empty());
    CHECK(browser().requests().empty());
  }

  TEST_CASE("browser: mouse, keys, size and colour scheme reach the page; scripts answer in JSON") {
    const TemporaryFolder folder;
    write_text(folder / "page.html",
               "<!DOCTYPE html><meta name=viewport content='width=device-width'><style>#b:hover {color: rgb(1, 2, 3)} "
               "body {height: 3000px}</style><script>var log = [];</script><input id=i>"
               "<button id=b onclick='log.push(\"click\")'>b</button><div id=d style='margin-top: 1500px; width: 50px; "
               "height: 50px' onpointerdown='log.push(event.clientX)' onpointerup='log.push(event.clientX)'></div>");
    browser().open(folder / "page.html", {.width = 400, .height = 600, .scheme = ColourScheme::dark});
    CHECK(browser().run("return [innerWidth, innerHeight, matchMedia('(prefers-color-scheme: dark)').matches]") ==
          json({400, 600, true}));
    browser().click("#b");
    browser().drag("#d", 7, 0);
    const json log = browser().run("return log");
    REQUIRE(log.size() == 3);
    CHECK(log[0] == "click");
    CHECK(log[2].get<double>() - log[1].get<double>() == 7);
    browser().hover("#b");
    CHECK(browser().run("return getComputedStyle(document.getElementById('b')).color") == "rgb(1, 2, 3)");
    browser().click("#i");
    browser().press("aé" + key::left + "b");
    CHECK(browser().run("return document.getElementById('i').value") == "abé");
    CHECK(browser().run("return {a: arguments[0] + 1, b: [null, 'x']}", {2}) ==
          json({{"a", 3}, {"b", {nullptr, "x"}}}));
    CHECK(browser().run("return Promise.resolve(4)") == 4);
    browser().open(folder / "page.html");
    CHECK(browser().run("return matchMedia('(prefers-color-scheme: dark)').matches") == false);
    browser().screenshot(folder / "page.png");
    CHECK(text_of(folder / "page.png").substr(0, 8) == "\x89PNG\r\n\x1a\n");
    browser().screenshot(folder / "whole.png", Browser::Extent::page);
    CHECK(text_of(folder / "whole.png").size() > text_of(folder / "page.png").size());
  }

  TEST_CASE("browser: what does not work throws, in words") {
    const TemporaryFolder folder;
    write_text(folder / "page.html",
               "<!DOCTYPE html><button id=b>b</button><div style='position: fixed; inset: 0'></div>");
    browser().open(folder / "page.html");
    CHECK_THROWS_WITH(browser().click("#none"), doctest::Contains("no such element"));
    CHECK_THROWS_WITH(browser().click("#b"), doctest::Contains("click intercepted"));
    CHECK_THROWS_WITH(browser().run("throw new Error('broken')"), doctest::Contains("broken"));
    CHECK_THROWS_WITH(browser().open(folder / "none.html"), doctest::Contains("none.html"));
  }
}

}  // namespace
}  // namespace phasor::testing
