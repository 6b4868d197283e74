// sae: train, evaluate and compare sparse autoencoders from the command line.
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <system_error>

#include "command_shared.h"
#include "commands.h"
#include "exit_status.h"
#include "output.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/threads.h"
#include "stop.h"
#include "usage.h"

namespace sae_cli {
namespace {

/// The first line of a message: LibTorch appends a backtrace of its own.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int run(int argc, char** argv) {
  const std::string called = argc > 0 ? argv[0] : "sae";
  Program program(called.find('/') != std::string::npos ? called : "sae");
  add_commands(program);
  if (const auto answer = parse(program.app, {argv + std::min(argc, 1), argv + argc})) {
    print(*answer);
    return kDone;
  }
  warn_of_threads(program.common.threads, "--threads");
  sae::use_threads(program.common.threads);
  return program.action();
}

/// Says what the exception that is being handled is about. Returns the exit status.
int report_exception() {
  try {
    throw;
  } catch (const sae::Interrupted&) {
    return report_stop();
  } catch (const OutputClosed&) {
    return kStopped + SIGPIPE;
  } catch (const sae::ConfigError& error) {
    print_error(error.what());
    return kUsage;
  } catch (const sae::DataError& error) {
    print_error(error.what());
    return kData;
  } catch (const sae::DistributedError& error) {
    print_error(error.what());
    return kOthers;
  } catch (const std::system_error& error) {  // a full disk, a file that cannot be written
    print_error(first_line(error.what()));
    return kData;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return kOther;
  } catch (const std::exception& error) {
    print_error(first_line(error.what()));
    return kOther;
  }
}

}  // namespace
}  // namespace sae_cli

int main(int argc, char** argv) {
  sae_cli::open_streams();
  sae_cli::stop_on_signals();
  int status = 0;
  try {
    status = sae_cli::run(argc, argv);
    sae_cli::wait_if_ending();
  } catch (...) {
    sae_cli::wait_if_ending();
    status = sae_cli::report_exception();
  }
  return status;
}
