#include <cstdio>
#include <memory>

#include "command_shared.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/config/fields.h"
#include "sae/models/architectures.h"
#include "sae/tools/bench.h"

namespace sae_cli {
namespace {

struct BenchArguments {
  std::vector<std::string> architectures = {"topk"};
  std::vector<std::string> masks = {"default"};
  std::vector<std::string> shapes = {"384,4096,32,2048"};
  std::vector<double> densities;
  std::string storage = sae::name_of(sae::Storage::kAuto);
  std::string screening = sae::name_of(sae::Screening::kAuto);
  std::string precision = sae::name_of(sae::Precision::kFp32);
  std::string kernels = sae::name_of(sae::DeviceKernels::kAuto);
  std::string check;
  sae::BenchOptions options;
};

/// "D,F,K,B"
sae::BenchCase parse_shape(const std::string& text) {
  sae::BenchCase one;
  long long d = 0, f = 0, b = 0;
  int end = 0;
  const int read = std::sscanf(text.c_str(), "%lld,%lld,%lf,%lld%n", &d, &f, &one.l0, &b, &end);
  if (read != 4 || end != static_cast<int>(text.size())) {
    throw sae::ConfigError("--shape: got '" + text + "', expected D,F,K,B like 768,16384,32,4096");
  }
  one.d_in = d;
  one.d_sae = f;
  one.batch = b;
  return one;
}

std::vector<sae::BenchCase> cases(const BenchArguments& given) {
  std::vector<sae::BenchCase> all;
  for (const std::string& shape : given.shapes) {
    for (const std::string& architecture : given.architectures) {
      for (const std::string& mask : given.masks) {
        sae::BenchCase one = parse_shape(shape);
        one.architecture = architecture;
        one.mask = sae::choice_named<sae::MaskDraw>(mask);
        if (given.densities.empty()) all.push_back(one);
        for (const double density : given.densities) {
          one.l0 = density * static_cast<double>(one.d_sae);
          all.push_back(one);
        }
      }
    }
  }
  return all;
}

int bench(const BenchArguments& given, const Common& common) {
  sae::BenchOptions options = given.options;
  options.threads = static_cast<int>(common.threads);
  if (!common.device.empty()) options.device = common.device;
  options.storage = *sae::choice_named<sae::Storage>(given.storage);
  options.screening = *sae::choice_named<sae::Screening>(given.screening);
  options.precision = *sae::choice_named<sae::Precision>(given.precision);
  options.kernels = *sae::choice_named<sae::DeviceKernels>(given.kernels);
  if (!given.check.empty()) {
    const bool good = sae::check_bench(given.check, options, [&](const std::string& line) {
      if (!common.quiet) print(line + "\n");
    });
    return good ? 0 : 1;
  }
  Json results = Json::array();
  const std::vector<sae::BenchCase> all = cases(given);
  sae::require_measurable(all, options);  // the last one's mistake, too, before the first is timed
  for (const sae::BenchCase& one : all) {
    const sae::BenchResult result = sae::bench(one, options);
    results.push_back(sae::to_json(result));
    if (!common.json && !common.quiet) print(sae::to_text(result));
  }
  if (common.json) print(json_text(results, 2) + "\n");
  return 0;
}

}  // namespace

void add_bench(Program& program) {
  auto given = std::make_shared<BenchArguments>();
  CLI::App* command =
      program.add("bench", "Time training steps, in units of the encoder's product",
                  [given, &common = program.common] { return bench(*given, common); });
  command
      ->add_option("--arch", given->architectures,
                   "Architectures: " + sae::joined(sae::architecture_names()))
      ->type_name("NAME ...")
      ->check(one_of(sae::architecture_names()))
      ->capture_default_str();
  const std::vector<std::string> draws = sae::choice_names<sae::MaskDraw>();
  std::vector<std::string> masks = draws;
  masks.insert(masks.begin(), "default");
  command
      ->add_option("--mask", given->masks,
                   "Masks on each, after their warm-up: default (what the architecture has, if "
                   "any), " +
                       sae::joined(draws))
      ->type_name("NAME ...")
      ->check(one_of(masks))
      ->capture_default_str();
  command
      ->add_option("--shape", given->shapes,
                   "Widths, latents, latents kept per token and batches; repeatable")
      ->type_name("D,F,K,B ...")
      ->capture_default_str()
      ->delimiter(' ');
  command->add_option("--density", given->densities, "Shares of latents kept, in place of K")
      ->type_name("SHARE ...")
      ->check(number_between(1e-6, 1));
  add_number(command, "--steps", given->options.steps, 1, "Timed steps")->capture_default_str();
  add_text(command, "--data", given->options.data, kPath,
           "Take every batch from this store, as training does");
  const auto choice = [&](const char* name, std::string& place, const char* meaning,
                          const std::vector<std::string>& names) {
    add_text(command, name, place, kName, std::string(meaning) + ": " + sae::joined(names))
        ->check(one_of(names))
        ->capture_default_str();
  };
  choice("--screening", given->screening, "Screened encoder", sae::choice_names<sae::Screening>());
  choice("--precision", given->precision, "Dense products; tf32 on GPUs",
         sae::choice_names<sae::Precision>());
  choice("--kernels", given->kernels, "Own CUDA kernels", sae::choice_names<sae::DeviceKernels>());
  choice("--storage", given->storage, "How codes are stored", sae::choice_names<sae::Storage>());
  add_text(command, "--check", given->check, kFile,
           "Compare with the costs recorded in this file; exit status 1 if slower");
  add_common(command, program.common);
  command->footer(
      "Example:\n  sae bench --arch topk jumprelu --shape 768,16384,32,4096 --threads 2");
}

}  // namespace sae_cli
