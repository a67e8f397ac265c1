#include "engine/layers/siglip.h"

#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd {

absl::Status SiglipEmbed(const ClipShape& shape, const SiglipEmbeddings& embeddings,
                         const Tensor& pixels, const ClipScratch& scratch, Backend* backend,
                         const Tensor& x) {
  PREFIXD_CHECK(!shape.has_class_row);
  const Tensor& patches = scratch.patches.view;
  PREFIXD_RETURN_IF_ERROR(backend->Patchify(pixels, shape.patch_size, patches));
  PREFIXD_RETURN_IF_ERROR(backend->Linear(patches, *embeddings.patch_embedding.weight,
                                          {.bias = &embeddings.patch_embedding.bias.view}, x));
  return backend->Add(embeddings.positions.view, x);
}

}  // namespace prefixd
