#include "engine/models/clip_tower.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {

absl::StatusOr<ClipTensors::Layer> FindClipLayer(const ClipShape& shape, const std::string& prefix,
                                                 WeightNames* names) {
  const int64_t D = shape.hidden_size, I = shape.intermediate_size;
  const std::string attention = prefix + "self_attn.";
  ClipTensors::Layer layer;
  PREFIXD_ASSIGN_OR_RETURN(layer.norm1, FindLayerNorm(prefix + "layer_norm1", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.q, FindLinear(attention + "q_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.k, FindLinear(attention + "k_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.v, FindLinear(attention + "v_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, FindLinear(attention + "out_proj", D, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.norm2, FindLayerNorm(prefix + "layer_norm2", D, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc1, FindLinear(prefix + "mlp.fc1", I, D, true, names));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc2, FindLinear(prefix + "mlp.fc2", D, I, true, names));
  return layer;
}

absl::StatusOr<ClipLayer> ReadClipLayer(const ClipTensors::Layer& in, WeightReader* reader) {
  ClipLayer layer;
  const int64_t D = in.norm1.weight->shape[0];
  PREFIXD_ASSIGN_OR_RETURN(layer.norm1, ReadLayerNorm(in.norm1, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv.weight,
                           reader->ReadMatrix({in.q.weight, in.k.weight, in.v.weight}));
  PREFIXD_ASSIGN_OR_RETURN(layer.qkv.bias,
                           reader->ReadTensor(1, 3 * D, {in.q.bias, in.k.bias, in.v.bias}));
  PREFIXD_ASSIGN_OR_RETURN(layer.output, ReadLinear(in.output, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.norm2, ReadLayerNorm(in.norm2, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc1, ReadLinear(in.fc1, reader));
  PREFIXD_ASSIGN_OR_RETURN(layer.fc2, ReadLinear(in.fc2, reader));
  return layer;
}

namespace {

absl::Status ReadEmbeddings(const ClipShape& shape, const ClipTensors& in, WeightReader* reader,
                            ClipEmbeddings* out) {
  const int64_t D = shape.hidden_size;
  PREFIXD_ASSIGN_OR_RETURN(out->class_row, reader->ReadTensor(1, D, {in.class_row}));
  PREFIXD_ASSIGN_OR_RETURN(out->positions, reader->ReadTensor(shape.num_rows(), D, {in.positions}));
  PREFIXD_ASSIGN_OR_RETURN(out->patch_embedding, reader->ReadMatrix({in.patch_embedding}));
  PREFIXD_ASSIGN_OR_RETURN(out->norm, ReadLayerNorm(in.norm, reader));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClipTensors> FindClipTensors(const ClipShape& shape, int num_layers,
                                            const std::string& prefix, WeightNames* names) {
  const int64_t D = shape.hidden_size, P = shape.patch_size;
  const std::string embeddings = prefix + "embeddings.";
  ClipTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.class_row, names->Find(embeddings + "class_embedding", {D}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.patch_embedding,
                           names->Find(embeddings + "patch_embedding.weight", {D, 3, P, P}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.positions, names->Find(embeddings + "position_embedding.weight",
                                                          {shape.num_rows(), D}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, FindLayerNorm(prefix + "pre_layrnorm", D, names));
  for (int i = 0; i < num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(
        auto layer, FindClipLayer(shape, absl::StrCat(prefix, "encoder.layers.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  return tensors;
}

absl::StatusOr<ClipTower> LoadClipTower(const ClipShape& shape, const ClipTensors& tensors,
                                        WeightReader* reader) {
  ClipTower tower;
  PREFIXD_RETURN_IF_ERROR(ReadEmbeddings(shape, tensors, reader, &tower.embeddings));
  for (const ClipTensors::Layer& layer : tensors.layers) {
    PREFIXD_ASSIGN_OR_RETURN(ClipLayer loaded, ReadClipLayer(layer, reader));
    tower.layers.push_back(std::move(loaded));
  }
  PREFIXD_ASSIGN_OR_RETURN(tower.scratch, ClipScratch::Allocate(shape, reader->backend()));
  return tower;
}

}  // namespace prefixd
