// Whose a comparison's folder is, and who writes it: one process, or many with a share each.
#pragma once

#include <filesystem>

#include "sae/base/folder_lock.h"
#include "sae/comparison/plan.h"
#include "sae/comparison/share.h"

namespace sae {

/// Held while a process writes the folder.
class ComparisonFolder {
 public:
  /// ConfigError if the folder holds something else than this comparison, or is written: the whole
  /// of it by another process or by shares, a share by the same share or by who has the whole.
  /// Members, levels and seeds may come and go; that a run is what it was is looked at before
  /// training.
  ComparisonFolder(const ComparisonPlan& plan, std::filesystem::path folder, const Share& share);

  /// From here on the folder is this comparison's: not before, so that one that is refused leaves
  /// nothing in the way of the next try.
  void claim() const;

 private:
  void require_own() const;

  const ComparisonPlan& plan_;
  std::filesystem::path folder_;
  bool whole_;
  FolderLock lock_;
};

}  // namespace sae
