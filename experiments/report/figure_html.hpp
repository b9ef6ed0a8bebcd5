// Figures in a page: what each asks and found as text, its numbers as JSON, and the scripts of page/ that draw them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/report/figure.hpp"

namespace phasor {

// The numbers and axes of a figure, for the scripts: nothing in it can end the element that holds it. Values have 4
// significant digits, half widths 2; both are to be multiplied by 10^exponent, so that most are short. What is not
// finite is null.
std::string figure_json(const Figure& figure);

// An <article> with the anchor figure-NAME.
std::string figure_html(const Figure& figure);

// The questions, linked to the figures: first those with a verdict, and the claim that it judges, then the others.
std::string overview_html(const std::vector<const Figure*>& figures);

// The files of page/: style.css, and the scripts one after the other as the body of one module.
extern const std::string_view page_style, page_script;

// What a Content-Security-Policy calls this script: 'sha256-...'.
std::string policy_hash(std::string_view script);

}  // namespace phasor
