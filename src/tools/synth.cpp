#include "sae/tools/synth.h"

#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/fields_json.h"
#include "data/store/truth.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/data/store.h"
#include "sae/data/world.h"

namespace sae {
namespace {

constexpr std::int64_t kTruthSamples = 65536;
constexpr std::int64_t kBatch = 4096;

template <class T>
at::Tensor tensor_of(const std::vector<T>& values) {
  at::Tensor out = at::empty({static_cast<std::int64_t>(values.size())},
                             at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<T>());
  return out;
}

void append(SparseRows& rows, const SparseRows& more) {
  const std::int64_t base = rows.offsets.back();
  rows.values.insert(rows.values.end(), more.values.begin(), more.values.end());
  rows.indices.insert(rows.indices.end(), more.indices.begin(), more.indices.end());
  for (std::size_t i = 1; i < more.offsets.size(); ++i)
    rows.offsets.push_back(base + more.offsets[i]);
}

void add_truth(StoreWriter& writer, std::int64_t number, const SparseRows& rows) {
  writer.add_file(truth_file_name(number), NamedTensors{{"values", tensor_of(rows.values)},
                                                        {"indices", tensor_of(rows.indices)},
                                                        {"offsets", tensor_of(rows.offsets)}});
}

}  // namespace

SynthOptions read_synth(const std::string& preset, std::int64_t tokens,
                        const std::vector<std::string>& sets, std::vector<Notice>* notices) {
  ConfigNode document =
      config_from_json(nlohmann::ordered_json{{"preset", preset}, {"tokens", tokens}}, "sae synth");
  for (const std::string& set : sets) document = with_set(document, set);
  auto options = read_fields<SynthOptions>(document);
  const Findings findings = findings_of(options, document);
  findings.require();
  if (notices) *notices = findings.notices();
  return options;
}

void write_world(const SynthOptions& options, const std::filesystem::path& folder,
                 const std::function<void(std::int64_t)>& on_progress) {
  const auto world = std::make_shared<const World>(options.world);
  WorldSource source(world, static_cast<std::uint64_t>(options.stream_seed));
  const nlohmann::ordered_json world_json = write_fields(world->options());
  const at::ScalarType dtype = options.dtype == StoredAs::kF32   ? at::kFloat
                               : options.dtype == StoredAs::kF16 ? at::kHalf
                                                                 : at::kBFloat16;
  if (std::filesystem::exists(folder)) {
    throw ConfigError(folder.string() + ": exists already; choose another --out");
  }
  StoreWriter writer(folder, world->d_in(), dtype,
                     {{"world", nlohmann::json(world_json)}, {"stream_seed", options.stream_seed}});
  writer.add_file("world.json", world_json.dump(2) + "\n");
  writer.add_file("dictionary.safetensors", NamedTensors{{"features", world->dictionary()},
                                                         {"bias", world->bias()},
                                                         {"rates", tensor_of(world->rates())}});
  SparseRows truth;
  for (std::int64_t done = 0; done < options.tokens;) {
    check_interrupt();
    const std::int64_t room = kTruthSamples - done % kTruthSamples;
    const LabelledBatch batch =
        source.next_with_truth(std::min({kBatch, room, options.tokens - done}));
    writer.append(batch.x);
    append(truth, batch.truth);
    done += batch.x.size(0);
    if (done % kTruthSamples == 0 || done == options.tokens) {
      add_truth(writer, (done - 1) / kTruthSamples, truth);
      truth = {};
    }
    if (on_progress) on_progress(done);
  }
  writer.finish();
}

}  // namespace sae
