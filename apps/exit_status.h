// What the command's exit status says.
#pragma once

namespace sae_cli {

enum ExitStatus : int {
  kDone = 0,
  kOther = 1,
  kUsage = 2,      ///< a command line or configuration that cannot be obeyed
  kData = 3,       ///< files and streams that cannot be read or written, or are damaged
  kOthers = 4,     ///< another process of the same work failed or is gone
  kStopped = 128,  ///< plus the signal, as shells have it
};

}  // namespace sae_cli
