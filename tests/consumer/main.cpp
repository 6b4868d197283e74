// What a program that links sae::sae may start with: a tensor from LibTorch and a call into sae.
#include <torch/types.h>

#include <iostream>

#include "all_headers.h"

int main() {
  const torch::Tensor ones = torch::ones({2, 3});
  if (ones.sum().item<double>() != 6.0) return 1;
  std::cout << "sae " << sae::kVersion << "\n";
  return 0;
}
