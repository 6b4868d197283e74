// Messages to a person on stderr. Only the command logs; the library never does.
#pragma once

#include <string>

namespace sae_cli {

void open_log();
void log_note(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace sae_cli
