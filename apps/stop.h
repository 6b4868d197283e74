// Ctrl-C and SIGTERM: the first one stops a command within a second, the second one at once.
//
// The first signal is a request (sae/base/interrupt.h) that computations hear. What cannot hear it
// in time, such as one long product or a slow disk, is ended from outside, unless a training has
// steps to save: that is waited for. However it ends, no temporary is left, and the exit status is
// 128 + the signal.
#pragma once

#include <string>

namespace sae_cli {

void stop_on_signals();

/// What the command says when it is stopped: how to go on, as a line to paste.
void set_way_on(const std::string& command_line);

/// Blocks for good if the process is being ended from outside: what goes wrong meanwhile, because
/// its temporaries are taken away, is no error, and what is left of them must not survive it.
void wait_if_ending();

/// Says that the command was stopped, and how to go on. Returns the exit status.
int report_stop();
/// The exit status alone, for a process that leaves the speaking to another.
int stop_status();

}  // namespace sae_cli
