// Kernels that work row by row, products of matrices, draws.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/kernels/draw_tokens.h"
#include "engine/backend/cuda/kernels/row_ops.h"
#include "tools/acceptance/roofline.h"

namespace prefixd::acceptance {

using cuda::DeviceMatrix;
using cuda::Element;

absl::Status Roofline::RowKernels(int64_t rows, const std::string& step) {
  const DecoderShape& layer = options_.model.layer;
  const int64_t hidden = layer.hidden_size, inner = layer.intermediate_size;
  const double layers = options_.model.num_layers;
  const std::string shape = absl::StrCat("[", rows, ", ", hidden, "]");
  const double row_bytes = 2.0 * static_cast<double>(rows * hidden);

  PREFIXD_RETURN_IF_ERROR(Measure(
      {.kernel = "embed_rows", .shape = shape, .bytes = 2 * row_bytes, .step = step, .calls = 1},
      [&]() -> absl::StatusOr<Launch> {
        std::vector<int32_t> ids(static_cast<size_t>(rows));
        for (size_t i = 0; i < ids.size(); ++i) {
          ids[i] = static_cast<int32_t>((i * 7919 + seed_) %
                                        static_cast<size_t>(options_.model.vocab_size));
        }
        PREFIXD_ASSIGN_OR_RETURN(Matrix table, NewMatrix(options_.model.vocab_size, hidden));
        PREFIXD_ASSIGN_OR_RETURN(Matrix y, NewMatrix(rows, hidden));
        PREFIXD_ASSIGN_OR_RETURN(DeviceBuffer on_device, DeviceBuffer::Of(ids));
        auto held = std::make_shared<std::pair<Matrix, Matrix>>(std::move(table), std::move(y));
        auto held_ids = std::make_shared<DeviceBuffer>(std::move(on_device));
        return [held, held_ids](cudaStream_t stream) {
          return CheckCuda(
              cuda::LaunchEmbedRows(held->first.view, held_ids->data<int32_t>(),
                                    held_ids->data<int32_t>(), held->second.view, stream),
              "launch");
        };
      }));

  // A launch over an input, an output and a row of weights.
  using RowLaunch = std::function<cudaError_t(const DeviceMatrix& x, const DeviceMatrix& y,
                                              const DeviceMatrix& weight, cudaStream_t)>;
  const auto measure = [&](const char* kernel, int64_t in, int64_t out, double passes, double calls,
                           const RowLaunch& launch) {
    const std::string name = absl::StrCat("[", rows, ", ", in, "]");
    return Measure({.kernel = kernel,
                    .shape = name,
                    .bytes = passes * 2.0 * static_cast<double>(rows * in) +
                             (in == out ? 0.0 : 2.0 * static_cast<double>(rows * out)),
                    .step = calls > 0 ? step : "",
                    .calls = calls},
                   [&, in, out]() -> absl::StatusOr<Launch> {
                     struct Held {
                       Matrix x, y, weight;
                     };
                     auto held = std::make_shared<Held>();
                     PREFIXD_ASSIGN_OR_RETURN(held->x, NewMatrix(rows, in));
                     PREFIXD_ASSIGN_OR_RETURN(held->y, NewMatrix(rows, out));
                     PREFIXD_ASSIGN_OR_RETURN(held->weight, NewMatrix(1, out));
                     return [held, launch](cudaStream_t stream) {
                       return CheckCuda(
                           launch(held->x.view, held->y.view, held->weight.view, stream), "launch");
                     };
                   });
  };
  PREFIXD_RETURN_IF_ERROR(
      measure("rms_norm", hidden, hidden, 2, 2 * layers,
              [](const auto& x, const auto& y, const auto& weight, cudaStream_t stream) {
                return cuda::LaunchRmsNorm(x, weight, 0, 1e-5f, y, stream);
              }));
  PREFIXD_RETURN_IF_ERROR(
      measure("layer_norm", hidden, hidden, 2, 0,
              [](const auto& x, const auto& y, const auto& weight, cudaStream_t stream) {
                return cuda::LaunchLayerNorm(x, weight, weight, 1e-5f, y, stream);
              }));
  PREFIXD_RETURN_IF_ERROR(
      measure("bias_activation gelu", hidden, hidden, 2, 0,
              [](const auto& x, const auto& y, const auto& weight, cudaStream_t stream) {
                return cuda::LaunchBiasActivation(x, &weight, cuda::KernelActivation::kGelu, false,
                                                  y, stream);
              }));
  PREFIXD_RETURN_IF_ERROR(
      measure("add", hidden, hidden, 3, 0,
              [](const auto& x, const auto& y, const auto&, cudaStream_t stream) {
                return cuda::LaunchAdd(x, y, stream);
              }));
  return measure("gated_activation", 2 * inner, inner, 1, layers,
                 [](const auto& x, const auto& y, const auto&, cudaStream_t stream) {
                   return cuda::LaunchGatedActivation(x, cuda::KernelActivation::kSilu, y, stream);
                 });
}

absl::Status Roofline::Gemms(int64_t rows, int64_t logit_rows, const std::string& step) {
  const DecoderShape& layer = options_.model.layer;
  const int64_t hidden = layer.hidden_size;
  const double layers = options_.model.num_layers;
  struct Product {
    const char* name;
    int64_t rows, inputs, outputs;
    bool accumulate;
    double calls;
  };
  for (const Product& product :
       {Product{"gemm qkv", rows, hidden, layer.qkv_size(), false, layers},
        Product{"gemm output", rows, layer.q_size(), hidden, true, layers},
        Product{"gemm gate_up", rows, hidden, 2 * layer.intermediate_size, false, layers},
        Product{"gemm down", rows, layer.intermediate_size, hidden, true, layers},
        Product{"gemm head", logit_rows, hidden, options_.model.vocab_size, false, 1}}) {
    const auto n = static_cast<double>(product.outputs), k = static_cast<double>(product.inputs),
               t = static_cast<double>(product.rows);
    PREFIXD_RETURN_IF_ERROR(Measure(
        {.kernel = product.name,
         .shape = absl::StrCat(product.rows, " x ", product.inputs, " x ", product.outputs),
         .kind = KernelKind::kGemm,
         .bytes = 2 * (n * k + t * k + t * n * (product.accumulate ? 2 : 1)),
         .flops = 2 * t * n * k,
         .step = step,
         .calls = product.calls},
        [&]() -> absl::StatusOr<Launch> {
          struct Held {
            Matrix x, weight, y;
          };
          auto held = std::make_shared<Held>();
          PREFIXD_ASSIGN_OR_RETURN(held->x, NewMatrix(product.rows, product.inputs));
          PREFIXD_ASSIGN_OR_RETURN(held->weight, NewMatrix(product.outputs, product.inputs));
          PREFIXD_ASSIGN_OR_RETURN(held->y, NewMatrix(product.rows, product.outputs));
          return [held, gemm = gemm_.get(), accumulate = product.accumulate](cudaStream_t stream) {
            return gemm->Run(held->x.view, held->weight.view, nullptr, accumulate, held->y.view,
                             stream);
          };
        }));
  }
  return absl::OkStatus();
}

absl::Status Roofline::Draws(int64_t rows, const std::string& step) {
  const int64_t vocabulary = options_.model.vocab_size;
  for (const bool greedy : {true, false}) {
    PREFIXD_RETURN_IF_ERROR(Measure(
        {.kernel = greedy ? "draw greedy" : "draw top_k 40 top_p 0.9",
         .shape = absl::StrCat("[", rows, ", ", vocabulary, "]"),
         .bytes = 2.0 * static_cast<double>(rows * vocabulary),
         .step = greedy ? step : "",
         .calls = greedy ? 1.0 : 0.0},
        [&]() -> absl::StatusOr<Launch> {
          struct Held {
            Matrix logits;
            DeviceBuffer draws, scratch, tokens, results;
          };
          auto held = std::make_shared<Held>();
          std::vector<cuda::DrawRow> draws(static_cast<size_t>(rows));
          for (size_t i = 0; i < draws.size(); ++i) {
            draws[i].logits_row = static_cast<int32_t>(i);
            if (greedy) continue;
            draws[i].temperature = 1.0f;
            draws[i].top_k = static_cast<int32_t>(std::min<int64_t>(40, vocabulary));
            draws[i].top_p = 0.9f;
            draws[i].seed = i + 1;
          }
          PREFIXD_ASSIGN_OR_RETURN(held->logits, NewMatrix(rows, vocabulary));
          PREFIXD_ASSIGN_OR_RETURN(held->draws, DeviceBuffer::Of(draws));
          PREFIXD_ASSIGN_OR_RETURN(
              held->scratch, DeviceBuffer::Create(static_cast<size_t>(4 * rows * vocabulary)));
          PREFIXD_ASSIGN_OR_RETURN(held->tokens,
                                   DeviceBuffer::Create(static_cast<size_t>(4 * rows)));
          PREFIXD_ASSIGN_OR_RETURN(held->results, DeviceBuffer::Create(static_cast<size_t>(rows) *
                                                                       sizeof(cuda::DrawResult)));
          return [held, rows](cudaStream_t stream) {
            return CheckCuda(
                cuda::LaunchDrawTokens(held->logits.view, held->draws.data<cuda::DrawRow>(),
                                       static_cast<int32_t>(rows), {}, held->scratch.data<float>(),
                                       held->tokens.data<int32_t>(),
                                       held->results.data<cuda::DrawResult>(), stream),
                "launch");
          };
        }));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::acceptance
