#include "engine/vision/png_decoder.h"

#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <png.h>

#include "base/check.h"
#include "engine/vision/image_errors.h"

namespace prefixd {
namespace {

// One allocation of libpng: a few rows of 16-bit RGBA and zlib's window are far below.
constexpr size_t kMaxAllocationBytes = 4 << 20;

// Chunks that cannot change a pixel here; libpng skips them unparsed.
constexpr unsigned char kSkippedChunks[] =
    "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0"
    "tIME\0zTXt";
constexpr int kNumSkippedChunks = 17;

// Everything that lives across a longjmp; plain data only.
struct PngJob {
  png_structp png;
  png_infop info;
  std::jmp_buf jump;
  const unsigned char* bytes;
  size_t num_bytes;
  size_t at;
  unsigned width;
  unsigned height;
  bool interlaced;
  bool has_background;
  unsigned char background[3];
  unsigned char* rows;    // [interlaced ? height : 1][width][4].
  unsigned char* pixels;  // [height][width][3].
};

[[noreturn]] void OnError(png_structp png, png_const_charp) {
  std::longjmp(static_cast<PngJob*>(png_get_error_ptr(png))->jump, 1);
}

void OnWarning(png_structp, png_const_charp) {}

png_voidp Allocate(png_structp, png_alloc_size_t bytes) {
  return bytes > kMaxAllocationBytes ? nullptr : std::malloc(bytes);
}

void Free(png_structp, png_voidp memory) { std::free(memory); }

void ReadBytes(png_structp png, png_bytep target, size_t count) {
  PngJob* job = static_cast<PngJob*>(png_get_io_ptr(png));
  if (count > job->num_bytes - job->at) png_error(png, "");
  std::memcpy(target, job->bytes + job->at, count);
  job->at += count;
}

// Pillow's paste with a mask.
unsigned char Blend(unsigned color, unsigned background, unsigned alpha) {
  const unsigned t = color * alpha + background * (255 - alpha) + 128;
  return static_cast<unsigned char>((t + (t >> 8)) >> 8);
}

void StoreRow(const PngJob& job, const unsigned char* row, int channels, unsigned char* rgb) {
  for (unsigned x = 0; x < job.width; ++x, row += channels, rgb += 3) {
    const bool blend = channels == 4 && job.has_background;
    for (int c = 0; c < 3; ++c) {
      rgb[c] = blend ? Blend(row[c], job.background[c], row[3]) : row[c];
    }
  }
}

void SetUp(PngJob* job) {
  png_structp png = job->png;
  png_set_read_fn(png, job, ReadBytes);
  png_set_user_limits(png, job->width, job->height);
  png_set_chunk_cache_max(png, 128);
  png_set_chunk_malloc_max(png, 1 << 20);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, 0);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kSkippedChunks, kNumSkippedChunks);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_benign_errors(png, 0);
}

void ReadImage(PngJob* job) {
  png_structp png = job->png;
  png_read_info(png, job->info);
  if (png_get_image_width(png, job->info) != job->width ||
      png_get_image_height(png, job->info) != job->height) {
    png_error(png, "");
  }
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_gray_to_rgb(png);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, job->info);
  const int channels = png_get_channels(png, job->info);
  const size_t row_bytes = png_get_rowbytes(png, job->info);
  if ((channels != 3 && channels != 4) || row_bytes != size_t{job->width} * channels ||
      (passes > 1) != job->interlaced) {
    png_error(png, "");
  }
  for (int pass = 0; pass < passes; ++pass) {
    for (unsigned y = 0; y < job->height; ++y) {
      unsigned char* row = job->rows + (job->interlaced ? y * row_bytes : 0);
      png_read_row(png, row, nullptr);
      if (pass + 1 < passes) continue;
      StoreRow(*job, row, channels, job->pixels + size_t{y} * job->width * 3);
    }
  }
  png_read_end(png, nullptr);
}

// The frame that longjmp returns to: no object with a destructor lives here or below.
bool RunJob(PngJob* job) {
  if (setjmp(job->jump) != 0) {
    if (job->png != nullptr) png_destroy_read_struct(&job->png, &job->info, nullptr);
    return false;
  }
  job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, OnError, OnWarning, nullptr,
                                      Allocate, Free);
  if (job->png == nullptr) return false;
  job->info = png_create_info_struct(job->png);
  if (job->info == nullptr) png_error(job->png, "");
  SetUp(job);
  ReadImage(job);
  png_destroy_read_struct(&job->png, &job->info, nullptr);
  return true;
}

}  // namespace

absl::Status DecodePng(absl::string_view bytes, const ImageHeader& header,
                       const std::optional<std::array<uint8_t, 3>>& background, RgbImage* out) {
  PREFIXD_CHECK(out->pixels.size() == static_cast<size_t>(header.width) * header.height * 3);
  std::vector<unsigned char> rows(static_cast<size_t>(header.width) * 4 *
                                  (header.interlaced ? header.height : 1));
  PngJob job = {};
  job.bytes = reinterpret_cast<const unsigned char*>(bytes.data());
  job.num_bytes = header.image_bytes;
  job.width = static_cast<unsigned>(header.width);
  job.height = static_cast<unsigned>(header.height);
  job.interlaced = header.interlaced;
  job.has_background = background.has_value();
  for (int c = 0; c < 3 && background.has_value(); ++c) job.background[c] = (*background)[c];
  job.rows = rows.data();
  job.pixels = out->pixels.data();
  if (!RunJob(&job)) return ImageCorrupt("PNG data is corrupt");
  return absl::OkStatus();
}

}  // namespace prefixd
