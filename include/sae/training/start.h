// Starting a run from an autoencoder that is there already, such as a public one that is to be
// trained on under a temporal mask.
//
// Taken are W_enc, b_enc, W_dec, b_dec, and thresholds where both sides have them, of any
// autoencoder that `sae convert` reads, of a run or of a checkpoint. It must have the run's inputs,
// and at most as many latents: those come first, in their order, and the rest starts as usual
// (Autoencoder::initialise). What the run does with its inputs (centre, scale) is undone in the
// weights, so that of raw activations the run's autoencoder computes at its first step what the
// other computes; where it chooses by another rule which latents fire, it says what is not kept.
// Moments, masks' statistics and the counts of silent tokens begin anew.
//
// What has been taken is kept in a checkpoint of step 0: resuming needs the other's files no more.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "sae/config/fields.h"

namespace sae {

struct StartOptions {
  std::string from;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("from", self.from, any,
          "autoencoder to start from, of any format that sae convert reads, a run or a checkpoint; "
          "\"\": random weights");
  }
};

/// Which autoencoder a run was started from.
struct StartedFrom {
  std::string path;                           ///< as it was given
  std::string format;                         ///< "saelens", ...: see convert_formats()
  std::string function;                       ///< how it chose its latents: "topk with k 32"
  std::int64_t d_sae = 0;                     ///< its latents
  std::map<std::string, std::string> sha256;  ///< of its files, by their names

  bool operator==(const StartedFrom& other) const = default;
};

nlohmann::ordered_json to_json(const StartedFrom& from);
/// nlohmann's exceptions for anything else.
StartedFrom started_from_json(const nlohmann::ordered_json& object);

}  // namespace sae
