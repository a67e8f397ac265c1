#include "engine/models/text_decoder.h"

#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd {

absl::Status TextDecoder::Forward(const Batch& batch, const KvView& kv, const Tensor& logits) {
  PREFIXD_CHECK(kv.layers.size() == static_cast<size_t>(num_layers()));
  PREFIXD_ASSIGN_OR_RETURN(const Tensor x, Begin(batch));
  for (int layer = 0; layer < num_layers(); ++layer) {
    PREFIXD_RETURN_IF_ERROR(RunLayer(layer, kv, x));
  }
  return Finish(batch, x, logits);
}

}  // namespace prefixd
