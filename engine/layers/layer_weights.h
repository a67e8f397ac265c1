// Weights that many layers share: a LayerNorm and a linear map.
#ifndef PREFIXD_ENGINE_LAYERS_LAYER_WEIGHTS_H_
#define PREFIXD_ENGINE_LAYERS_LAYER_WEIGHTS_H_

#include <memory>

#include "engine/backend/backend.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

struct LayerNormWeights {
  OwnedTensor weight, bias;  // [1, D].
};

struct LinearWeights {
  std::unique_ptr<Matrix> weight;  // [outputs, inputs].
  OwnedTensor bias;                // [1, outputs]; empty: none.
};

inline const Tensor* BiasOf(const LinearWeights& linear) {
  return linear.bias.view.data == nullptr ? nullptr : &linear.bias.view;
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_LAYER_WEIGHTS_H_
