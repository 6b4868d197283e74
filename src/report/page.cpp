#include "html/assets.h"
#include "html/svg.h"
#include "report/sections.h"
#include "sae/report/report.h"

namespace sae {

// In assets/report.css colours s0 to s4 are for members without a mask, s5 to s7, warmer, for
// masked ones; each set can be told apart with any common colour vision, and shapes repeat the
// distinction.
std::string render_report(const ComparisonResult& result) {
  const std::string title = report::escaped(result.title.empty() ? "Comparison" : result.title);
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
         title + "</title>\n<style>\n" + assets::chart_css + assets::report_css +
         "</style>\n</head>\n<body>\n<main>\n" + report::title_section(result) +
         "<p class=\"findings\">" + report::escaped(findings(result)) + "</p>\n" +
         report::sparsity_section(result) + report::matched_section(result) +
         report::axes_section(result) + report::trade_off_section(result) +
         report::suites_section(result) + report::classes_section(result) +
         report::significance_section(result) + report::interp_section(result) +
         report::consistency_section(result) + report::training_section(result) +
         report::firing_section(result) + report::mask_section(result) +
         report::settings_section(result) + report::runs_section(result) +
         report::origin_section(result) + "</main>\n</body>\n</html>\n";
}

}  // namespace sae
