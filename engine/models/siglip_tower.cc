#include "engine/models/siglip_tower.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {

absl::StatusOr<SiglipTensors> FindSiglipTensors(const ClipShape& shape, int num_layers,
                                                const std::string& prefix, WeightNames* names) {
  const int64_t D = shape.hidden_size, P = shape.patch_size;
  const std::string embeddings = prefix + "embeddings.";
  SiglipTensors tensors;
  PREFIXD_ASSIGN_OR_RETURN(tensors.patch_embedding.weight,
                           names->Find(embeddings + "patch_embedding.weight", {D, 3, P, P}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.patch_embedding.bias,
                           names->Find(embeddings + "patch_embedding.bias", {D}));
  PREFIXD_ASSIGN_OR_RETURN(tensors.positions, names->Find(embeddings + "position_embedding.weight",
                                                          {shape.num_patches(), D}));
  for (int i = 0; i < num_layers; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(
        auto layer, FindClipLayer(shape, absl::StrCat(prefix, "encoder.layers.", i, "."), names));
    tensors.layers.push_back(layer);
  }
  PREFIXD_ASSIGN_OR_RETURN(tensors.norm, FindLayerNorm(prefix + "post_layernorm", D, names));
  return tensors;
}

absl::StatusOr<SiglipTower> LoadSiglipTower(const ClipShape& shape, const SiglipTensors& tensors,
                                            WeightReader* reader) {
  SiglipTower tower;
  PREFIXD_ASSIGN_OR_RETURN(
      tower.embeddings.positions,
      reader->ReadTensor(shape.num_patches(), shape.hidden_size, {tensors.positions}));
  PREFIXD_ASSIGN_OR_RETURN(tower.embeddings.patch_embedding,
                           ReadLinear(tensors.patch_embedding, reader));
  for (const ClipTensors::Layer& layer : tensors.layers) {
    PREFIXD_ASSIGN_OR_RETURN(ClipLayer loaded, ReadClipLayer(layer, reader));
    tower.layers.push_back(std::move(loaded));
  }
  PREFIXD_ASSIGN_OR_RETURN(tower.norm, ReadLayerNorm(tensors.norm, reader));
  PREFIXD_ASSIGN_OR_RETURN(tower.scratch, ClipScratch::Allocate(shape, reader->backend()));
  return tower;
}

}  // namespace prefixd
