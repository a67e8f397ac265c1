// What an engine has measured since start, as distributions. Plain values: the engine thread
// writes, readers get copies.
#ifndef PREFIXD_ENGINE_HISTOGRAMS_H_
#define PREFIXD_ENGINE_HISTOGRAMS_H_

#include <vector>

#include "base/histogram.h"

namespace prefixd {
namespace histogram_bounds {

// Bounds that dashboards of this field share, seconds, with smaller ones for small models.
inline std::vector<double> FirstToken() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}
inline std::vector<double> Token() {
  return {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
          .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
}
inline std::vector<double> Phase() {
  return {.01, .03, .1, .3, .5, .8, 1,   1.5, 2,   2.5, 5,    10,
          15,  20,  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}
inline std::vector<double> Count() {
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
}

}  // namespace histogram_bounds

// What has happened since start, as distributions; for metrics.
struct EngineHistograms {
  Histogram queue_seconds, prefill_seconds, decode_seconds, request_seconds;
  Histogram time_to_first_token_seconds, inter_token_seconds, time_per_output_token_seconds;
  Histogram image_encode_seconds;
  Histogram prompt_tokens, generated_tokens;  // By request.
  Histogram batch_tokens, batch_sequences;    // By step.

  EngineHistograms()  // With the bounds of docs/operations.md.
      : queue_seconds(histogram_bounds::Phase()),
        prefill_seconds(histogram_bounds::Phase()),
        decode_seconds(histogram_bounds::Phase()),
        request_seconds(histogram_bounds::Phase()),
        time_to_first_token_seconds(histogram_bounds::FirstToken()),
        inter_token_seconds(histogram_bounds::Token()),
        time_per_output_token_seconds(histogram_bounds::Token()),
        image_encode_seconds(histogram_bounds::Phase()),
        prompt_tokens(histogram_bounds::Count()),
        generated_tokens(histogram_bounds::Count()),
        batch_tokens(histogram_bounds::Count()),
        batch_sequences(histogram_bounds::Count()) {}
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_HISTOGRAMS_H_
