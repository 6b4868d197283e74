// What is at a path, decided in one place, and the autoencoder there, whoever wrote it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sae/models/sae_folder.h"

namespace sae {

enum class PathKind {
  kNothing,        ///< no such file or folder
  kAutoencoder,    ///< a folder that `sae` wrote: config.json, sae.safetensors
  kForeign,        ///< an autoencoder of another tool; see convert.h
  kRun,            ///< a run with its result in sae/
  kUnfinishedRun,  ///< a run without; it may have checkpoints
  kCheckpoint,     ///< one of them: checkpoints/step-00012000
  kComparison,
  kStore,    ///< a folder with manifest.json
  kFile,     ///< any other file
  kUnknown,  ///< any other folder
};

/// By the names of the files and the JSON that says what they are; reads no weights and throws
/// nothing for what is damaged.
PathKind what_is_at(const std::filesystem::path& path);

/// "a run that has not been finished", for messages.
std::string describe(PathKind kind);

/// An autoencoder that takes raw activations.
struct OpenedSae {
  /// config.json, or what it would be: model; source, training and converted_from as far as known.
  SaeFolder folder;
  std::string format;              ///< "sae", "saelens", ...: see readable_formats()
  std::vector<std::string> notes;  ///< what a person should know of how it was opened, a line each
};

/// Opens an autoencoder, a run, a checkpoint, and every format that `sae convert` reads. Of an
/// unfinished run it takes the newest intact checkpoint; the input scale of a checkpoint is folded
/// in. DataError if there is none, or it is damaged.
OpenedSae open_sae(const std::filesystem::path& path);

}  // namespace sae
