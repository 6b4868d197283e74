// Messages to a person on standard error, a line each: "error: ...", "warning: ...", "note: ...".
// Only the command logs; the library never does.
#pragma once

#include <string>

namespace sae_cli {

enum class Message { kError, kWarning, kNote };

/// With the label in colour if `colour`. A message that cannot be written is lost: what it says is
/// also in the exit status.
void log(Message kind, const std::string& text, bool colour);

}  // namespace sae_cli
