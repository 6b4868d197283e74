// The two errors that a user can cause, the one that training can, and the one that others can.
//
// Every message reads "place: got, expected, remedy", for example
//     configs/atm.json:12: model.mask.decya: unknown key; did you mean 'decay'?
// Misuse of the C++ interface throws std::invalid_argument instead.
#pragma once

#include <stdexcept>

namespace sae {

/// A configuration or command line that cannot be obeyed. The command exits with 2.
class ConfigError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A file or tensor whose contents are not what they claim to be. The command exits with 3.
class DataError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Training produced NaN or Inf, or its loss exploded. The command exits with 1.
class DivergenceError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Another process of the same work failed or is gone. The command exits with 4.
class DistributedError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace sae
