// What a program that links sae::sae may start with: a tensor from LibTorch and a call into sae.
#include <sae/sae.h>
#include <torch/types.h>

#include <iostream>

int main() {
  const torch::Tensor ones = torch::ones({2, 3});
  if (ones.sum().item<double>() != 6.0) return 1;
  std::cout << "sae " << sae::kVersion << "\n";
  return 0;
}
