// What a user should know although it stops nothing: returned by the library, printed by the
// command.
#pragma once

#include <functional>
#include <string>

namespace sae {

struct Notice {
  enum class Kind {
    kNote,     ///< what a number rests on, what was left out
    kWarning,  ///< what is probably not meant so
  };
  Kind kind = Kind::kNote;
  std::string text;  ///< "place: what; remedy", one line

  bool operator==(const Notice& other) const = default;
};

using NoticeHandler = std::function<void(const Notice&)>;

}  // namespace sae
