// What is found from the first activations: mean and scale of the inputs, and where b_dec starts.
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/data/data.h"
#include "sae/models/input_map.h"
#include "sae/training/trainer.h"

namespace sae {

/// The activations that a run is calibrated on, [N, D]: the first of its data, as many as are asked
/// for and there are.
at::Tensor calibration_rows(const TrainOptions& options, const Data& data);

/// What the rows of x [N, D] are multiplied with, so that their mean squared norm is 1 or D; 1 if
/// they are all zero.
double input_scale(InputNorm norm, const at::Tensor& x);

/// What the rows of x [N, D] become before they reach the weights.
InputMap input_map(InputNorm norm, InputCentre centre, const at::Tensor& x);

/// The name of its mean among a trainer's state.
constexpr const char* kInputMean = "input_mean";

/// b_dec [D] for the mapped activations x [N, D].
at::Tensor initial_b_dec(BDecInit how, const at::Tensor& x);

/// Weiszfeld's algorithm: the point with the least summed distance to the rows of x [N, D].
at::Tensor geometric_median(const at::Tensor& x);

}  // namespace sae
