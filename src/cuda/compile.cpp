#include "cuda/compile.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "cuda/driver.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"

namespace sae::cuda {
namespace {

namespace fs = std::filesystem;

/// Empty if there is no place for one.
fs::path cache_folder() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  fs::path root = variable("XDG_CACHE_HOME");
  if (!root.is_absolute() && !variable("HOME").empty()) root = variable("HOME") / ".cache";
  return root.is_absolute() ? root / "sae.cpp" / "kernels" : fs::path();
}

/// "sm_90", or "compute_120" for a device that this NVRTC does not know.
std::string architecture_for(int major, int minor) {
  const Driver& cuda = driver();
  int count = 0;
  if (cuda.nvrtcGetNumSupportedArchs(&count) != 0 || count < 1) {
    throw std::runtime_error("NVRTC does not say what it compiles for");
  }
  std::vector<int> known(static_cast<std::size_t>(count));
  cuda.nvrtcGetSupportedArchs(known.data());
  const int wanted = 10 * major + minor;
  if (std::find(known.begin(), known.end(), wanted) != known.end()) {
    return "sm_" + std::to_string(wanted);
  }
  int newest = 0;
  for (const int one : known) {
    if (one < wanted) newest = std::max(newest, one);
  }
  if (newest == 0) {
    throw std::runtime_error("NVRTC no longer compiles for devices as old as sm_" +
                             std::to_string(wanted));
  }
  return "compute_" + std::to_string(newest);
}

class Program {
 public:
  Program(const std::string& name, const std::string& source) : name_(name) {
    check(cuda_.nvrtcCreateProgram(&program_, source.c_str(), name.c_str(), 0, nullptr, nullptr));
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { cuda_.nvrtcDestroyProgram(&program_); }

  std::string compile(const std::vector<std::string>& options, bool assembly) {
    std::vector<const char*> arguments;
    for (const std::string& option : options) arguments.push_back(option.c_str());
    const int count = static_cast<int>(arguments.size());
    if (cuda_.nvrtcCompileProgram(program_, count, arguments.data()) != 0) {
      throw std::runtime_error(name_ + ": NVRTC: " + first_complaint());
    }
    std::size_t size = 0;
    check((assembly ? cuda_.nvrtcGetPTXSize : cuda_.nvrtcGetCUBINSize)(program_, &size));
    std::string image(size, '\0');
    check((assembly ? cuda_.nvrtcGetPTX : cuda_.nvrtcGetCUBIN)(program_, image.data()));
    return image;
  }

 private:
  void check(int error) const {
    if (error != 0) throw std::runtime_error(name_ + ": " + cuda_.nvrtcGetErrorString(error));
  }

  std::string first_complaint() const {
    std::size_t size = 0;
    cuda_.nvrtcGetProgramLogSize(program_, &size);
    std::string log(size, '\0');
    cuda_.nvrtcGetProgramLog(program_, log.data());
    const std::size_t begin = std::min(log.find("error"), log.size());
    return log.substr(begin, log.find_first_of("\n\0", begin, 2) - begin);
  }

  const Driver& cuda_ = driver();
  std::string name_;
  void* program_ = nullptr;
};

/// Bytes with the digest that shows whether they are all there and unchanged.
std::string sealed(const std::string& image) { return sha256_hex(image) + "\n" + image; }

std::string unsealed(const std::string& bytes) {
  constexpr std::size_t kDigest = 64;
  if (bytes.size() <= kDigest + 1) return "";
  std::string image = bytes.substr(kDigest + 1);
  return sealed(image) == bytes ? image : "";
}

std::string cached(const fs::path& file) {
  try {
    return file.empty() || !fs::exists(file) ? "" : unsealed(read_file(file));
  } catch (const std::exception&) {  // as good as none
    return "";
  }
}

void keep(const fs::path& file, const std::string& image) {
  if (file.empty()) return;
  try {
    fs::create_directories(file.parent_path());
    write_file_atomically(file, sealed(image));
  } catch (const std::system_error&) {  // the next process compiles again
  }
}

}  // namespace

std::string machine_code(const std::string& name, const std::string& source, int major, int minor,
                         bool anew) {
  int version[2] = {};
  driver().nvrtcVersion(&version[0], &version[1]);
  const std::string architecture = architecture_for(major, minor);
  const std::vector<std::string> options{"--std=c++17", "-default-device",
                                         "--gpu-architecture=" + architecture};
  std::string made_of =
      source + "\nNVRTC " + std::to_string(version[0]) + "." + std::to_string(version[1]);
  for (const std::string& option : options) made_of += " " + option;
  const fs::path folder = cache_folder();
  const fs::path file = folder.empty() ? folder : folder / (sha256_hex(made_of) + ".cubin");
  if (!anew) {
    if (std::string image = cached(file); !image.empty()) return image;
  }
  const bool assembly = architecture.starts_with("compute_");
  std::string image = Program(name, source).compile(options, assembly);
  keep(file, image);
  return image;
}

}  // namespace sae::cuda
