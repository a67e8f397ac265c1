#include "engine/models/openflamingo_gated.h"

#include <cmath>

#include "base/status_macros.h"
#include "engine/models/weight_layout.h"

namespace prefixd {
namespace {

absl::StatusOr<float> ReadGate(const TensorInfo& gate, WeightReader* reader) {
  float value = 0;
  PREFIXD_RETURN_IF_ERROR(reader->ReadFloats(gate, {&value, 1}));
  return std::tanh(value);
}

}  // namespace

absl::StatusOr<GatedTensors> FindGatedTensors(const GatedCrossAttentionShape& shape,
                                              const std::string& prefix, WeightNames* names) {
  const int64_t D = shape.hidden_size, inner = shape.inner(), I = shape.ff_size;
  GatedTensors block{};
  PREFIXD_ASSIGN_OR_RETURN(block.attention_norm, FindLayerNorm(prefix + "attn.norm", D, names));
  PREFIXD_ASSIGN_OR_RETURN(block.q, names->Find(prefix + "attn.to_q.weight", {inner, D}));
  PREFIXD_ASSIGN_OR_RETURN(block.output, names->Find(prefix + "attn.to_out.weight", {D, inner}));
  PREFIXD_ASSIGN_OR_RETURN(block.attention_gate, names->Find(prefix + "attn_gate", {1}));
  PREFIXD_ASSIGN_OR_RETURN(block.ff_norm, FindLayerNorm(prefix + "ff.0", D, names));
  PREFIXD_ASSIGN_OR_RETURN(block.up, names->Find(prefix + "ff.1.weight", {I, D}));
  PREFIXD_ASSIGN_OR_RETURN(block.down, names->Find(prefix + "ff.3.weight", {D, I}));
  PREFIXD_ASSIGN_OR_RETURN(block.ff_gate, names->Find(prefix + "ff_gate", {1}));
  return block;
}

absl::StatusOr<GatedCrossAttentionBlock> ReadGatedBlock(const GatedTensors& in,
                                                        WeightReader* reader) {
  GatedCrossAttentionBlock block;
  PREFIXD_ASSIGN_OR_RETURN(block.attention_norm, ReadLayerNorm(in.attention_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(block.ff_norm, ReadLayerNorm(in.ff_norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(block.q, reader->ReadMatrix({in.q}));
  PREFIXD_ASSIGN_OR_RETURN(block.output, reader->ReadMatrix({in.output}));
  PREFIXD_ASSIGN_OR_RETURN(block.up, reader->ReadMatrix({in.up}));
  PREFIXD_ASSIGN_OR_RETURN(block.down, reader->ReadMatrix({in.down}));
  PREFIXD_ASSIGN_OR_RETURN(block.attention_gate, ReadGate(*in.attention_gate, reader));
  PREFIXD_ASSIGN_OR_RETURN(block.ff_gate, ReadGate(*in.ff_gate, reader));
  return block;
}

}  // namespace prefixd
