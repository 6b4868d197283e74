// Labelled activations that are easy to read, for tests of what evaluates them.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "sae/data/labelled.h"

namespace sae {

/// Three classes on the first three of 20 axes.
inline LabelledActivations axis_classes() {
  LabelledActivations data;
  data.place = "classes";
  data.task = "axis";
  data.classes = {"x", "y", "z"};
  const auto split = [](std::int64_t n, double shift) {
    LabelledSplit out;
    out.y = at::arange(n, at::kLong) % 3;
    out.x = 0.2 * at::sin(at::arange(n * 20, at::kFloat) + shift).view({n, 20});
    out.x.scatter_add_(1, out.y.unsqueeze(1), at::full({n, 1}, 2.0F));
    return out;
  };
  data.train = split(60, 0);
  data.test = split(30, 0.5);
  return data;
}

}  // namespace sae
