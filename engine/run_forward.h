// One forward pass of a model, announced to the backend so that it can prepare for it, or play it
// from a recording.
#ifndef PREFIXD_ENGINE_RUN_FORWARD_H_
#define PREFIXD_ENGINE_RUN_FORWARD_H_

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "engine/backend/backend.h"
#include "engine/models/model.h"

namespace prefixd {

// As Model::Forward. decodes_only: see ForwardInputs.
inline absl::Status RunForward(const Batch& batch, const KvView& kv, bool decodes_only,
                               Backend* backend, Model* model, const Tensor& logits) {
  PREFIXD_ASSIGN_OR_RETURN(const bool played,
                           backend->BeginForward({.token_ids = batch.token_ids,
                                                  .positions = batch.positions,
                                                  .layers = kv.layers,
                                                  .pool = kv.pool,
                                                  .decodes_only = decodes_only}));
  if (played) return absl::OkStatus();
  return backend->EndForward(model->Forward(batch, kv, logits));
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_RUN_FORWARD_H_
