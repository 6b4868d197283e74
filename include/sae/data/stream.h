// Activations that never touch a disk: a harvester makes them while a run is trained on them.
//
//     "data": {"kind": "stream", "command": "python3 scripts/harvest.py --model ... --stream"}
//
// The run starts `command` in a shell and reads what it writes, each activation once. What it must
// do:
//
//     SAE_STREAM_FOLDER  write shard-00000.safetensors, shard-00001... there, each with a tensor
//                        `activations` [T, D] (and perhaps tokens and context), under another name
//                        first and then renamed; the reader deletes them
//     SAE_STREAM_START   begin with this token: the same text is always the same tokens
//     SAE_STREAM_AHEAD   wait while so many shards are there
//     SAE_STREAM_READER  end when the process of this number is gone
//     end                a file of this name, written last, says that there is no more
//
// The first `held_out` tokens are evaluated on and never trained on. The others are trained on in
// windows of `window` tokens, each in an order shuffled by (seed, window); the next one is read
// while the last is trained on. A resume reads the held-out tokens again and asks for those of the
// window that it goes on in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sae/config/fields.h"

namespace sae {

struct StreamDataOptions {
  std::string command;
  std::int64_t held_out = 65'536;
  std::int64_t window = 131'072;
  std::int64_t ahead = 8;
  std::int64_t stall_s = 600;
  std::optional<std::string> folder;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("command", self.command, non_empty,
          "what a shell starts to make activations, such as scripts/harvest.py ... --stream");
    visit("held_out", self.held_out, at_least(1), "first tokens, evaluated on and not trained on");
    visit("window", self.window, at_least(1),
          "tokens that are shuffled among each other; two windows are held in memory");
    visit("ahead", self.ahead, at_least(1), "shards that may wait to be read");
    visit("stall_s", self.stall_s, at_least(1),
          "seconds without a shard after which it is given up");
    visit("folder", self.folder, any,
          "where shards are passed on; null: a new one in memory (/dev/shm), or in TMPDIR");
  }
};

}  // namespace sae
