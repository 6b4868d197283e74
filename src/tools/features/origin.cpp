#include "tools/features/origin.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <optional>

#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "sae/base/interrupt.h"

namespace sae {
namespace {

constexpr std::int64_t kContextsAtOnce = std::int64_t{1} << 20;

/// The object at `key`, or an empty one.
nlohmann::ordered_json object_at(const nlohmann::ordered_json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_object()
             ? object[key]
             : nlohmann::ordered_json::object();
}

}  // namespace

FeaturesOrigin origin_of(const ActivationStore& store, const nlohmann::ordered_json& config) {
  nlohmann::ordered_json source = object_at(config, "source");
  if (source.contains("store")) source = object_at(source, "store");
  const nlohmann::ordered_json own = store.source();
  if (own.is_object()) source.update(own);
  FeaturesOrigin origin{.model = text_of(source, "model"),
                        .hook = text_of(source, "hook_name"),
                        .hook_point = hook_point_of(source),
                        .layer = 0,
                        .dataset = dataset_name(source)};
  if (source.contains("layer") && source["layer"].is_number_integer()) {
    origin.layer = source["layer"].get<std::int64_t>();
  }
  return origin;
}

Contexts contexts_of(const ActivationStore& store) {
  if (!store.has_context()) return {1, store.size()};
  Contexts found;
  std::optional<std::int32_t> last;
  std::int64_t length = 0;
  for (std::int64_t first = 0; first < store.size(); first += kContextsAtOnce) {
    check_interrupt();
    const std::int64_t count = std::min(kContextsAtOnce, store.size() - first);
    const at::Tensor part = store.context(first, count);
    const auto* number = part.const_data_ptr<std::int32_t>();
    for (std::int64_t i = 0; i < count; ++i) {
      if (last != number[i]) {
        ++found.count;
        length = 0;
        last = number[i];
      }
      found.longest = std::max(found.longest, ++length);
    }
  }
  return found;
}

}  // namespace sae
