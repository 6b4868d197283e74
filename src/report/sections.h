// The sections of the report in the order of the page. Each is complete HTML with its heading, or
// an empty string when the comparison has nothing for it.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "html/chart.h"
#include "report/groups.h"
#include "sae/results/results.h"
#include "sae/results/word_marks.h"

namespace sae::report {

std::string title_section(const ComparisonResult& result);
std::string sparsity_section(const ComparisonResult& result);      ///< charts against L0
std::string matched_section(const ComparisonResult& result);       ///< the table at matched L0
std::string axes_section(const ComparisonResult& result);          ///< along the axes of the grid
std::string trade_off_section(const ComparisonResult& result);     ///< absorption against variance
std::string suites_section(const ComparisonResult& result);        ///< absorption on words, probing
std::string classes_section(const ComparisonResult& result);       ///< the same, class by class
std::string significance_section(const ComparisonResult& result);  ///< what of it is not noise
std::string interp_section(const ComparisonResult& result);        ///< what latents stand for
std::string consistency_section(const ComparisonResult& result);   ///< between seeds
std::string training_section(const ComparisonResult& result);
std::string firing_section(const ComparisonResult& result);
std::string mask_section(const ComparisonResult& result);
std::string settings_section(const ComparisonResult& result);
std::string runs_section(const ComparisonResult& result);
std::string origin_section(const ComparisonResult& result);  ///< command and versions

/// Absorption on words at matched L0, on text and on the words, without a heading of its own.
std::string words_tables(const ComparisonResult& result);

// Shared by the sections.
std::string marked(const WordMarks& marks);  ///< letters beside a number, explained in its title
std::string meaning_of(const WordMarks& marks);  ///< of the letters, for a note
std::string section(const std::string& title, const std::string& note, const std::string& body);
std::string grid(const std::string& figures, const char* css = "figures");
std::string details(const std::string& summary, const std::string& body);
/// A table that scrolls sideways where the page is narrow, and by keyboard; `css`: its class, or
/// "".
std::string scrolling(const std::string& name, const std::string& table,
                      const std::string& css = "");
std::string capital(std::string text);
/// What `figures_of` draws for each panel of members, under its title where there are several. The
/// second argument makes ids of its figures unique.
using PanelFigures = std::function<std::string(const Panel& panel, const std::string& id)>;
std::string in_panels(const ComparisonResult& result, const PanelFigures& figures_of,
                      const char* css = "figures");
/// A metric over the L0 of its grid points: a line a member of the panel, dashed ones for controls.
std::string against_l0(const ComparisonResult& result, const Panel& panel, const MetricInfo& metric,
                       const std::string& id);
std::string legend_of(const std::vector<std::pair<Look, std::string>>& entries);
/// Values a factor of four apart are easier told apart on a logarithmic axis.
bool wide(const std::vector<Series>& series, double Point::*of);
std::string members_of(const std::vector<Series>& series);  ///< their labels

}  // namespace sae::report
