// The only file that includes spdlog: LibTorch ships headers of another fmt under the same names,
// so this one is compiled without LibTorch's include path.
#include "log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>

namespace sae_cli {
namespace {

struct Kind {
  const char* label;
  spdlog::level::level_enum level;  // whose colour it takes
};

Kind kind_of(Message kind) {
  switch (kind) {
    case Message::kError:
      return {"error", spdlog::level::err};
    case Message::kWarning:
      return {"warning", spdlog::level::warn};
    case Message::kNote:
      return {"note", spdlog::level::info};
  }
  return {"note", spdlog::level::info};
}

}  // namespace

void log(Message kind, const std::string& text, bool colour) {
  static const auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  sink->set_color_mode(colour ? spdlog::color_mode::always : spdlog::color_mode::never);
  const Kind as = kind_of(kind);
  spdlog::logger logger(as.label, sink);
  logger.set_pattern("%^%n%$: %v");
  logger.log(as.level, spdlog::string_view_t(text));
}

}  // namespace sae_cli
