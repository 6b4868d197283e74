// The only file that includes spdlog: LibTorch ships headers of another fmt under the same names,
// so this one is compiled without LibTorch's include path.
#include "log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace sae_cli {

void open_log() {
  spdlog::set_default_logger(spdlog::stderr_color_st("sae"));
  spdlog::set_pattern("%^%l%$: %v");
}

void log_note(const std::string& message) {
  spdlog::set_pattern("%^note%$: %v");
  spdlog::info("{}", message);
  spdlog::set_pattern("%^%l%$: %v");
}

void log_warning(const std::string& message) { spdlog::warn("{}", message); }
void log_error(const std::string& message) { spdlog::error("{}", message); }

}  // namespace sae_cli
