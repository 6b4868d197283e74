#include "sae/data/fingerprint.h"

#include <nlohmann/json.hpp>

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const DataIdentity& identity) {
  return {{"name", identity.name}, {"contents", identity.contents}, {"digest", identity.digest}};
}

DataIdentity identity_from_json(const Json& object) {
  return {object.at("name").get<std::string>(), object.at("contents").get<std::string>(),
          object.at("digest").get<std::string>()};
}

/// "900 tokens of width 8 (sha256:0123456789ab)"
std::string described(const DataIdentity& identity) {
  return identity.contents + " (" + identity.digest.substr(0, identity.digest.find(':') + 1 + 12) +
         ")";
}

std::string change_of(const DataIdentity& before, const DataIdentity& now) {
  if (before.digest == now.digest) return "";
  return before.name + " was " + described(before) + ", " +
         (now.name == before.name ? "it" : now.name) + " is " + described(now);
}

}  // namespace

Json to_json(const DataFingerprint& fingerprint) {
  return {{"train", to_json(fingerprint.train)}, {"held_out", to_json(fingerprint.held_out)}};
}

DataFingerprint fingerprint_from_json(const Json& object) {
  return {identity_from_json(object.at("train")), identity_from_json(object.at("held_out"))};
}

bool same_content(const DataFingerprint& a, const DataFingerprint& b) {
  return change_of_data(a, b).empty();
}

std::string change_of_data(const DataFingerprint& before, const DataFingerprint& now) {
  const std::string train = change_of(before.train, now.train);
  return train.empty() ? change_of(before.held_out, now.held_out) : train;
}

}  // namespace sae
