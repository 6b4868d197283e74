#include <nlohmann/json.hpp>
#include <string>

#include "sae/base/text.h"
#include "sae/tools/bench.h"

namespace sae {

using Json = nlohmann::ordered_json;

Json to_json(const BenchResult& result) {
  Json stages = Json::object();
  for (const auto& [name, seconds] : result.stages) stages[name] = seconds;
  return {{"arch", result.of.architecture},
          {"mask", result.of.mask ? Json(name_of(*result.of.mask)) : Json()},
          {"d", result.of.d_in},
          {"n", result.of.d_sae},
          {"k", result.of.l0},
          {"batch", result.of.batch},
          {"step_s", result.step_s},
          {"fastest_step_s", result.fastest_step_s},
          {"tokens_per_s", result.tokens_per_s()},
          {"gemm_s", result.gemm_s},
          {"gemms_per_step", result.gemms_per_step()},
          {"floor_s", result.floor_s},
          {"floor_share", result.floor_s / result.step_s},
          {"peak_rss_mib", result.peak_rss_mib},
          {"peak_device_mib", result.peak_device_mib},
          {"l0", result.l0},
          {"screened", result.screened},
          {"device", result.device},
          {"precision", name_of(result.precision)},
          {"without_kernels", result.without_kernels},
          {"threads", result.threads},
          {"stages", stages}};
}

namespace {

/// What a GPU has besides.
std::string on_device(const BenchResult& result) {
  if (result.device == "cpu") return "";
  const std::string kernels =
      result.without_kernels.empty() ? "own kernels" : "LibTorch's operators alone";
  return ", on " + result.device + " " + fixed(result.peak_device_mib, 0) + " MiB, " + kernels;
}

}  // namespace

std::string to_text(const BenchResult& result) {
  const BenchCase& of = result.of;
  const std::string precision =
      result.precision == Precision::kFp32 ? "" : "  " + name_of(result.precision);
  std::string text = of.architecture + (of.mask ? " with mask " + name_of(*of.mask) : "") + "  D " +
                     std::to_string(of.d_in) + "  F " + std::to_string(of.d_sae) + "  K " +
                     fixed(of.l0, of.l0 < 10 ? 1 : 0) + "  B " + std::to_string(of.batch) +
                     "  (L0 " + fixed(result.l0, 1) + ")" + precision + "\n";
  text += "  " + fixed(1e3 * result.step_s, 1) + " ms a step, " + fixed(result.tokens_per_s(), 0) +
          " tokens/s, " + fixed(result.gemms_per_step(), 2) + " GEMMs of " +
          fixed(1e3 * result.gemm_s, 1) + " ms\n";
  text += "  floor " + fixed(100 * result.floor_s / result.step_s, 0) + " %, peak memory " +
          fixed(result.peak_rss_mib, 0) + " MiB" + (result.screened ? ", screened" : "") +
          on_device(result) + "\n ";
  std::string line;
  for (const auto& [name, seconds] : result.stages) {
    const std::string part = " " + name + " " + fixed(1e3 * seconds, 1);
    if (line.size() + part.size() > 76) {
      text += line + "\n ";
      line.clear();
    }
    line += part;
  }
  return text + line + "\n";
}

}  // namespace sae
