#include "output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "log.h"

namespace sae_cli {
namespace {

/// 0, or the error that kept it from writing all of it.
int write_all(int stream, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(stream, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {  // whoever shares the stream has set it so
      pollfd ready{stream, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

bool colourful() {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && !is_set("NO_COLOR") &&
         std::string_view(terminal != nullptr ? terminal : "dumb") != "dumb";
}

}  // namespace

void open_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // The wrong way round: to use a stream that is closed stays an error.
    ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

void print(std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == EPIPE) throw OutputClosed();
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), "standard output: cannot write");
  }
}

void print_error(const std::string& message) { log(Message::kError, message, colourful()); }

void print_warning(const std::string& message) { log(Message::kWarning, message, colourful()); }

void leave_line() {
  if (::isatty(STDERR_FILENO) == 1) write_all(STDERR_FILENO, "\n");
}

void print_note(bool quiet, const std::string& message) {
  if (!quiet) log(Message::kNote, message, colourful());
}

}  // namespace sae_cli
