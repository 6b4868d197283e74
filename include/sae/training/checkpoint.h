// Checkpoints: everything that training needs to go on as if it had never stopped.
//
// checkpoints/step-00012000/ holds sae.safetensors (parameters and statistics),
// optimizer.safetensors (both moments), state.json (step, input scale, the run's record) and,
// written last, MANIFEST.json with size and SHA-256 of the others. The folder is written aside,
// fsynced and renamed, so what has its name is complete.
//
// Over ranks each writes its own rows, sae-0001-of-0004.safetensors and optimizer-0001-of-0004...,
// with the latents that they are of in the metadata; any number of ranks goes on from what any
// other wrote. The folder must be one that all of them see; rank 0 makes and renames it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "sae/data/fingerprint.h"
#include "sae/training/start.h"
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

/// A run that was given more steps when its learning rate had begun to fall: its schedule was made
/// anew from there.
struct Replanned {
  std::int64_t step = 0;    ///< steps done by then
  std::int64_t before = 0;  ///< steps that had been planned
};

/// What a run has to know of its past to go on, beside the trainer's state.
struct CheckpointRecord {
  std::int64_t planned_steps = 0;       ///< that the schedule was made for; 0: not known
  std::optional<DataFingerprint> data;  ///< that it was trained on
  std::vector<Replanned> replanned;
  std::optional<StartedFrom> started_from = {};  ///< none: from random weights
};

/// [{"step": 60, "before": 60}, ...]
nlohmann::ordered_json to_json(const std::vector<Replanned>& replanned);
/// nlohmann's exceptions for anything else.
std::vector<Replanned> replanned_from_json(const nlohmann::ordered_json& list);

/// Writes the trainer's state under `folder` (".../checkpoints"), then deletes all but the newest
/// `keep` and whatever claims a later step. If writing fails the older checkpoints are still there.
void save_checkpoint(const std::filesystem::path& folder, const Trainer& trainer, std::int64_t keep,
                     const CheckpointRecord& record = {});

/// Whether the files of `checkpoint` have the sizes and checksums that its manifest states.
bool is_intact(const std::filesystem::path& checkpoint);

/// The newest intact checkpoint in `folder`; nothing if there is none.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

struct CheckpointState {
  std::int64_t step = 0;
  InputMap input;  ///< what activations become before they reach the weights
  CheckpointRecord record;
};

/// What state.json of a checkpoint says; DataError if it is damaged.
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint);

/// Brings the trainer to the state of `checkpoint` and returns the record that was saved with it.
/// DataError if it belongs to another model.
CheckpointRecord load_checkpoint(const std::filesystem::path& checkpoint, Trainer& trainer);

/// The parameters and statistics alone of a checkpoint, or of an autoencoder's folder, into an
/// autoencoder of the same options, or a rank's part of one. DataError.
void load_autoencoder(const std::filesystem::path& folder, Autoencoder& sae);

/// The step that a checkpoint's folder name states.
std::int64_t checkpoint_step(const std::filesystem::path& checkpoint);

}  // namespace sae
