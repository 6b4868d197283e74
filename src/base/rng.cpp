#include "sae/base/rng.h"

#include <cmath>
#include <numbers>

namespace sae {

double Rng::uniform() {
  const std::uint64_t high = next() >> 6;
  const std::uint64_t low = next() >> 6;
  // One bit less than a double holds, so that adding a half is exact and 1 is never reached.
  return (static_cast<double>((high << 26) | low) + 0.5) * 0x1p-52;
}

double Rng::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

std::uint64_t Rng::below(std::uint64_t n) {
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % n;  // reject the uneven tail
  for (;;) {
    const std::uint64_t bits = (static_cast<std::uint64_t>(next()) << 32) | next();
    if (bits < limit) return bits % n;
  }
}

}  // namespace sae
