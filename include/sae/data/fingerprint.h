// What data are known by: their content, not their path. A run keeps the fingerprint of what it was
// trained and evaluated on; only the same data go on with it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sae {

struct DataIdentity {
  std::string name;      ///< what messages call it: a store's path, "synthetic world tiny"
  std::string contents;  ///< for people: "600 tokens of width 8, gpt2, blocks.6.hook_resid_post"
  std::string digest;    ///< equal digests: the same content; see ActivationStore::digest
};

struct DataFingerprint {
  DataIdentity train;
  DataIdentity held_out;  ///< that of `train` where a share of it is held out
};

/// {"train": {"name": ..., "contents": ..., "digest": ...}, "held_out": {...}}
nlohmann::ordered_json to_json(const DataFingerprint& fingerprint);
/// nlohmann's exceptions for anything else.
DataFingerprint fingerprint_from_json(const nlohmann::ordered_json& object);

bool same_content(const DataFingerprint& a, const DataFingerprint& b);

/// What changed, for a message: "acts was 600 tokens of width 8 (sha256:0123456789ab), it is 900
/// ..."; empty if nothing did.
std::string change_of_data(const DataFingerprint& before, const DataFingerprint& now);

}  // namespace sae
