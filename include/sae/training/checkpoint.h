// Checkpoints: everything that training needs to go on as if it had never stopped.
//
// checkpoints/step-00012000/ holds sae.safetensors (parameters and statistics),
// optimizer.safetensors (both moments), state.json and, written last, MANIFEST.json with size and
// SHA-256 of the others. The folder is written aside, fsynced and renamed, so what has its name is
// complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "sae/training/trainer.h"

namespace sae {

struct CheckpointOptions {
  std::int64_t checkpoint_every = 1000;
  double checkpoint_minutes = 10;
  std::int64_t keep_checkpoints = 2;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("checkpoint_every", self.checkpoint_every, at_least(0),
          "steps between checkpoints; 0: none by steps");
    visit("checkpoint_minutes", self.checkpoint_minutes, at_least(0),
          "minutes after which a checkpoint is due in any case; 0: none by time");
    visit("keep_checkpoints", self.keep_checkpoints, at_least(1),
          "checkpoints kept; older ones are deleted");
  }

  void check(Findings& findings, const RunLength& run) const;
};

/// Writes the trainer's state under `folder` (".../checkpoints"), then deletes all but the newest
/// `keep` and whatever claims a later step. If writing fails the older checkpoints are still there.
void save_checkpoint(const std::filesystem::path& folder, const Trainer& trainer,
                     std::int64_t keep);

/// Whether the files of `checkpoint` have the sizes and checksums that its manifest states.
bool is_intact(const std::filesystem::path& checkpoint);

/// The newest intact checkpoint in `folder`; nothing if there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

/// Brings the trainer to the state of `checkpoint`. DataError if it belongs to another model.
void load_checkpoint(const std::filesystem::path& checkpoint, Trainer& trainer);

/// The step that a checkpoint's folder name states.
std::int64_t checkpoint_step(const std::filesystem::path& checkpoint);

}  // namespace sae
