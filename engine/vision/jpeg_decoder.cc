#include "engine/vision/jpeg_decoder.h"

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE and size_t declared first.
#include <vector>

#include <jpeglib.h>

#include "base/check.h"
#include "engine/vision/image_errors.h"

namespace prefixd {
namespace {

// What libjpeg's own tables and row buffers may take beside the coefficients.
constexpr uint64_t kWorkBytes = 8 << 20;

enum class JpegResult { kOk, kCorrupt, kTooManyScans, kHeaderMismatch };

// Everything that lives across a longjmp; plain data only. libjpeg's client_data points here.
struct JpegJob {
  jpeg_decompress_struct decompress;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  JpegResult failure;
  const unsigned char* bytes;
  unsigned long num_bytes;
  int width;
  int height;
  int num_components;
  int max_scans;
  long max_memory;
  unsigned char* pixels;    // [height][width][3].
  unsigned char* cmyk_row;  // [width][4].
};

[[noreturn]] void Fail(j_common_ptr info, JpegResult failure) {
  JpegJob* job = static_cast<JpegJob*>(info->client_data);
  job->failure = failure;
  std::longjmp(job->jump, 1);
}

void OnError(j_common_ptr info) { Fail(info, JpegResult::kCorrupt); }

void OnMessage(j_common_ptr info, int level) {
  if (level < 0) Fail(info, JpegResult::kCorrupt);
}

void OnOutput(j_common_ptr) {}

void OnProgress(j_common_ptr info) {
  const JpegJob* job = static_cast<const JpegJob*>(info->client_data);
  if (job->decompress.input_scan_number > job->max_scans) Fail(info, JpegResult::kTooManyScans);
}

unsigned char MulDiv255(unsigned a, unsigned b) {
  const unsigned t = a * b + 128;
  return static_cast<unsigned char>(((t >> 8) + t) >> 8);
}

// Pillow's naive conversion of a row that is stored inverted.
void InvertedCmykToRgb(const unsigned char* cmyk, int width, unsigned char* rgb) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const unsigned not_black = cmyk[3];  // Inverted twice.
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<unsigned char>(not_black - MulDiv255(255u - cmyk[c], not_black));
    }
  }
}

void SetUp(JpegJob* job) {
  jpeg_decompress_struct* info = &job->decompress;
  info->client_data = job;
  info->progress = &job->progress;
  job->progress.progress_monitor = OnProgress;
  info->mem->max_memory_to_use = job->max_memory;
  jpeg_mem_src(info, job->bytes, job->num_bytes);
}

void ReadRows(JpegJob* job) {
  jpeg_decompress_struct* info = &job->decompress;
  const size_t stride = static_cast<size_t>(job->width) * 3;
  while (info->output_scanline < info->output_height) {
    unsigned char* target = job->pixels + info->output_scanline * stride;
    unsigned char* row = job->num_components == 4 ? job->cmyk_row : target;
    jpeg_read_scanlines(info, &row, 1);
    if (job->num_components == 4) InvertedCmykToRgb(job->cmyk_row, job->width, target);
  }
}

// The frame that longjmp returns to: no object with a destructor lives here or below.
JpegResult RunJob(JpegJob* job) {
  jpeg_decompress_struct* info = &job->decompress;
  info->err = jpeg_std_error(&job->errors);
  job->errors.error_exit = OnError;
  job->errors.emit_message = OnMessage;
  job->errors.output_message = OnOutput;
  info->client_data = job;
  if (setjmp(job->jump) != 0) {
    jpeg_destroy_decompress(info);
    return job->failure;
  }
  jpeg_create_decompress(info);
  SetUp(job);
  jpeg_read_header(info, TRUE);
  if (static_cast<int>(info->image_width) != job->width ||
      static_cast<int>(info->image_height) != job->height ||
      info->num_components != job->num_components) {
    Fail(reinterpret_cast<j_common_ptr>(info), JpegResult::kHeaderMismatch);
  }
  info->out_color_space = job->num_components == 4 ? JCS_CMYK : JCS_RGB;
  info->dct_method = JDCT_ISLOW;
  info->do_fancy_upsampling = TRUE;
  jpeg_start_decompress(info);
  ReadRows(job);
  jpeg_finish_decompress(info);
  jpeg_destroy_decompress(info);
  return JpegResult::kOk;
}

}  // namespace

absl::Status DecodeJpeg(absl::string_view bytes, const ImageHeader& header,
                        const ImageLimits& limits, RgbImage* out) {
  PREFIXD_CHECK(out->pixels.size() == static_cast<size_t>(header.width) * header.height * 3);
  std::vector<unsigned char> cmyk_row(static_cast<size_t>(header.width) * 4);
  JpegJob job = {};
  job.bytes = reinterpret_cast<const unsigned char*>(bytes.data());
  job.num_bytes = header.image_bytes;
  job.width = header.width;
  job.height = header.height;
  job.num_components = header.num_components;
  job.max_scans = limits.max_jpeg_scans;
  job.max_memory = static_cast<long>(header.coefficient_bytes + kWorkBytes);
  job.pixels = out->pixels.data();
  job.cmyk_row = cmyk_row.data();
  switch (RunJob(&job)) {
    case JpegResult::kOk:
      return absl::OkStatus();
    case JpegResult::kTooManyScans:
      return ImageTooLarge("number of JPEG scans", limits.max_jpeg_scans + 1u,
                           limits.max_jpeg_scans);
    case JpegResult::kHeaderMismatch:
      return ImageCorrupt("JPEG header is contradictory");
    case JpegResult::kCorrupt:
      return ImageCorrupt("JPEG data is corrupt");
  }
  return ImageCorrupt("JPEG data is corrupt");
}

}  // namespace prefixd
