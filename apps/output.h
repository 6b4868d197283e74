// What the command prints: results on standard output, messages to a person on standard error.
//
// Nothing is kept in a buffer, so that a full disk is an error and not a result lost in silence.
// Colour is used where standard error is a terminal, unless NO_COLOR is set (no-color.org).
#pragma once

#include <string>
#include <string_view>

namespace sae_cli {

/// Thrown by `print` when whoever read the results has gone (`sae info x | head`): nothing is
/// wrong, and nothing more is to be said.
struct OutputClosed {};

/// Before anything else: makes a closed pipe an error of `print` instead of a signal, and opens
/// standard streams that are closed on nothing, so that no file takes their numbers.
void open_streams();

/// Writes results to standard output. std::system_error if they cannot be written.
void print(std::string_view text);

void print_error(const std::string& message);    ///< "error: message"
void print_warning(const std::string& message);  ///< "warning: message"; --quiet does not hide it
void leave_line();                               ///< of a terminal, where progress may stand

/// "note: message", which tells of something that is as it should be; nothing with `quiet`.
void print_note(bool quiet, const std::string& message);

}  // namespace sae_cli
