// The catalogue of pictures that strangers send. Every one is refused with a reason, or decoded.
#include <zlib.h>

#include <chrono>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/vision/image_decoder.h"
#include "tests/vision/vision_fixture.h"

namespace prefixd {
namespace {

const ImageDecoder& Decoder() {
  static const auto* const decoder = CreateInProcessImageDecoder({}).release();
  return *decoder;
}

// "OK", or the reason of an INVALID_ARGUMENT, or the status as text.
std::string Verdict(absl::string_view bytes) {
  const auto image = Decoder().Decode(bytes);
  if (image.ok()) return "OK";
  const auto detail = GetErrorDetail(image.status());
  if (image.status().code() != absl::StatusCode::kInvalidArgument || !detail.has_value()) {
    return image.status().ToString();
  }
  return detail->reason;
}

std::string U32(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string Chunk(const std::string& type, const std::string& body) {
  const std::string data = type + body;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(data.data()), data.size());
  return U32(body.size()) + data + U32(static_cast<uint32_t>(crc));
}

std::string Deflate(const std::string& raw) {
  uLongf size = compressBound(raw.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
           raw.size());
  out.resize(size);
  return out;
}

const std::string kMagic("\x89PNG\r\n\x1A\n", 8);

std::string Ihdr(uint32_t width, uint32_t height, int depth = 8, int color = 0) {
  return Chunk("IHDR",
               U32(width) + U32(height) +
                   std::string{static_cast<char>(depth), static_cast<char>(color), 0, 0, 0});
}

std::string GreyPng(uint32_t w, uint32_t h, const std::string& before = "",
                    const std::string& after = "") {
  return kMagic + Ihdr(w, h) + before + Chunk("IDAT", Deflate(std::string((w + 1) * h, '\0'))) +
         after + Chunk("IEND", "");
}

std::string WithIdat(const std::string& idat_chunks) {
  return kMagic + Ihdr(4, 4) + idat_chunks + Chunk("IEND", "");
}

TEST(BadImage, EmptyTinyAndOversizedFilesAreRefused) {  // C1, C2, C3.
  EXPECT_EQ(Verdict(""), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict("abc"), "IMAGE_FORMAT_UNSUPPORTED");
  EXPECT_EQ(Verdict(std::string((16 << 20) + 1, 'x')), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict("\xFF\xD8\xFF"), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(kMagic), "IMAGE_CORRUPT");
  for (const char* magic : {"GIF89a", "BM", "II*", "8BPS", "<svg", "%PDF", "P6\n", "PK\3\4"}) {
    EXPECT_EQ(Verdict(std::string(magic) + std::string(100, 'x')), "IMAGE_FORMAT_UNSUPPORTED");
  }
}

TEST(BadImage, TrailingBytesHaveALimit) {  // C5.
  for (const std::string& image : {ReadGolden("420_baseline.jpg"), GreyPng(4, 4)}) {
    EXPECT_EQ(Verdict(image + std::string(65536, 'z')), "OK");
    EXPECT_EQ(Verdict(image + std::string(65537, 'z')), "IMAGE_TOO_LARGE");
  }
}

TEST(BadImage, TruncationAtEveryByteIsRefused) {  // C6.
  for (const char* name : {"420_baseline.jpg", "420_progressive.jpg", "restart.jpg", "cmyk.jpg",
                           "rgb8_33x17.png", "rgba8_7x5_adam7.png"}) {
    const std::string whole = ReadGolden(name);
    ASSERT_EQ(Verdict(whole), "OK") << name;
    for (size_t n = 0; n < whole.size(); ++n) {
      ASSERT_NE(Verdict(whole.substr(0, n)).find("IMAGE_"), std::string::npos) << name << " " << n;
    }
  }
}

TEST(BadImage, CutScansWithAnEndMarkerAreNeverPartlyGrey) {  // C6.
  const std::string whole = ReadGolden("420_baseline.jpg");
  const size_t scan = whole.find("\xFF\xDA");
  for (size_t n = scan + 14; n + 40 < whole.size(); ++n) {
    ASSERT_EQ(Verdict(whole.substr(0, n) + "\xFF\xD9"), "IMAGE_CORRUPT") << n;
  }
}

TEST(BadImage, SizesOutsideTheLimitsAreRefusedFromTheHeader) {  // C7, C8, C9.
  EXPECT_EQ(Verdict(kMagic + Ihdr(40000, 40000) + Chunk("IDAT", std::string(5 << 20, 'a')) +
                    Chunk("IEND", "")),
            "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(kMagic + Ihdr(0x7FFFFFFF, 0x7FFFFFFF)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(kMagic + Ihdr(0, 5)), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(kMagic + Ihdr(5, 0)), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(GreyPng(1, 1)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(GreyPng(3, 3)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(GreyPng(1, 65535)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(GreyPng(4, 1025)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(GreyPng(4, 1024)), "OK");
}

// A JPEG with another frame header. SOF0 body: precision, height, width, components.
std::string PatchedJpeg(size_t offset_in_sof, const std::string& bytes, char marker = '\xC0') {
  std::string jpeg = ReadGolden("420_baseline.jpg");
  const size_t sof = jpeg.find("\xFF\xC0");
  jpeg[sof + 1] = marker;
  return jpeg.replace(sof + offset_in_sof, bytes.size(), bytes);
}

TEST(BadImage, UnsupportedAndContradictoryJpegsAreRefused) {  // C10, C12, C14.
  EXPECT_EQ(Verdict(PatchedJpeg(5, "\xFA\xFA\xFA\xFA")), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(PatchedJpeg(5, std::string(2, '\0'))), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(PatchedJpeg(4, "\x0C")), "IMAGE_FORMAT_UNSUPPORTED");
  for (const char marker : {'\xC3', '\xC5', '\xC9', '\xCA', '\xCD'}) {
    EXPECT_EQ(Verdict(PatchedJpeg(4, "\x08", marker)), "IMAGE_FORMAT_UNSUPPORTED");
  }
  const std::string jpeg = ReadGolden("420_baseline.jpg");
  const size_t sof = jpeg.find("\xFF\xC0"), sos = jpeg.find("\xFF\xDA");
  EXPECT_EQ(Verdict(jpeg.substr(0, sof) + jpeg.substr(sof, 19) + jpeg.substr(sof)),
            "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(jpeg.substr(0, sof) + jpeg.substr(sos)), "IMAGE_CORRUPT");
  std::string restart = ReadGolden("restart.jpg");
  restart[restart.find("\xFF\xD0") + 1] = '\xD5';
  EXPECT_EQ(Verdict(restart), "IMAGE_CORRUPT");
}

TEST(BadImage, TablesWithImpossibleIdsAreRefused) {  // C14.
  // Segment: marker, two bytes of length, then class or precision and id in one byte.
  const std::pair<const char*, char> cases[] = {
      {"\xFF\xDB", '\x07'}, {"\xFF\xC4", '\x0F'}, {"\xFF\xC4", '\x2F'}};
  for (const auto& [marker, id] : cases) {
    std::string jpeg = ReadGolden("420_baseline.jpg");
    jpeg[jpeg.find(marker) + 4] = id;
    EXPECT_EQ(Verdict(jpeg), "IMAGE_CORRUPT") << int{id};
  }
}

TEST(BadImage, EightyThousandScansAreRefusedQuickly) {  // C11.
  std::string jpeg = ReadGolden("420_progressive.jpg");
  const std::string scan("\xFF\xDA\0\x08\x01\x01\0\x01\x3F\0\x7F\x80", 12);
  jpeg.resize(jpeg.find("\xFF\xDA"));
  for (int i = 0; i < 80'000; ++i) jpeg += scan;
  jpeg += "\xFF\xD9";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Verdict(jpeg), "IMAGE_TOO_LARGE");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200));
}

TEST(BadImage, ApplicationSegmentsAreSkipped) {  // C15.
  const std::string jpeg = ReadGolden("420_baseline.jpg");
  std::string padded = jpeg.substr(0, 2);
  for (int i = 0; i < 200; ++i) padded += "\xFF\xE5\xFF\xFF" + std::string(65533, 'a');
  EXPECT_EQ(Verdict(padded + jpeg.substr(2)), "OK");
}

TEST(BadImage, CompressedTextIsSkippedAndChunksAreCounted) {  // C16, C17.
  const std::string bomb = Deflate(std::string(60 << 20, 'a'));
  EXPECT_EQ(Verdict(GreyPng(4, 4, Chunk("zTXt", std::string("k\0\0", 3) + bomb))), "OK");
  EXPECT_EQ(Verdict(GreyPng(4, 4, Chunk("iCCP", std::string("k\0\0", 3) + bomb))), "OK");
  std::string chunks;
  const std::string one = Chunk("teXt", "");
  for (int i = 0; i < 1'000'000; ++i) chunks += one;
  EXPECT_EQ(Verdict(GreyPng(4, 4, chunks)), "IMAGE_TOO_LARGE");
  EXPECT_EQ(Verdict(GreyPng(4, 4, Chunk("ABCD", ""))), "IMAGE_CORRUPT");
  std::string crc = GreyPng(4, 4);
  crc[8 + 8 + 13] ^= 1;
  EXPECT_EQ(Verdict(crc), "IMAGE_CORRUPT");
}

TEST(BadImage, AnIndexBeyondThePaletteIsBlackAsInPillow) {  // C18.
  const auto image = Decoder().Decode(
      kMagic + Ihdr(4, 4, 8, 3) + Chunk("PLTE", "abcdef") +
      Chunk("IDAT", Deflate(std::string("\0\0\1\2\xFF", 5) + std::string(15, '\0'))) +
      Chunk("IEND", ""));
  ASSERT_TRUE(image.ok()) << image.status();
  const std::string row(image->pixels.begin(), image->pixels.begin() + 12);
  EXPECT_EQ(row, std::string("abcdef\0\0\0\0\0\0", 12));
}

TEST(BadImage, MissingAndOverlongPalettesAreRefused) {  // C18.
  const std::string pixels = Chunk("IDAT", Deflate(std::string(20, '\0'))) + Chunk("IEND", "");
  const std::string start = kMagic + Ihdr(4, 4, 8, 3);
  EXPECT_EQ(Verdict(start + pixels), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(start + Chunk("PLTE", "abcdef") + Chunk("tRNS", "abc") + pixels),
            "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(start + Chunk("PLTE", "abcde") + pixels), "IMAGE_CORRUPT");
}

TEST(BadImage, DataStreamsOfTheWrongLengthAreRefused) {  // C19.
  const std::string good = Deflate(std::string(20, '\0'));
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", good))), "OK");
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", Deflate(std::string(19, '\0'))))), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", Deflate(std::string(21, '\0'))))), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", good) + Chunk("teXt", "") + Chunk("IDAT", ""))),
            "IMAGE_CORRUPT");
  std::string window = good, dictionary = good;
  window[0] = '\xF8';
  dictionary[1] = static_cast<char>(dictionary[1] | 0x20);
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", window))), "IMAGE_CORRUPT");
  EXPECT_EQ(Verdict(WithIdat(Chunk("IDAT", dictionary))), "IMAGE_CORRUPT");
  std::string many;
  const std::string empty = Chunk("IDAT", "");
  for (int i = 0; i < 100'000; ++i) many += empty;
  EXPECT_EQ(Verdict(WithIdat(many + Chunk("IDAT", good))), "IMAGE_TOO_LARGE");
}

TEST(BadImage, AnAnimationGivesItsDefaultImage) {  // C20.
  const std::string control = U32(0) + U32(4) + U32(4) + U32(0) + U32(0) + std::string(6, '\0');
  const std::string later = Chunk("fcTL", U32(1) + control.substr(4)) +
                            Chunk("fdAT", U32(2) + Deflate(std::string(20, '\xFF')));
  const auto image = Decoder().Decode(
      GreyPng(4, 4, Chunk("acTL", U32(2) + U32(0)) + Chunk("fcTL", control), later));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->pixels, std::vector<uint8_t>(48, 0));
}

TEST(BadImage, MutatedFilesAreDecodedOrRefusedWithAReason) {
  std::mt19937 random(7);
  for (const char* name : {"420_baseline.jpg", "444_progressive.jpg", "cmyk.jpg", "exif6_be.jpg",
                           "rgba8_33x17_adam7.png", "palette4_trns_33x17.png", "exif3_le.png"}) {
    const std::string whole = ReadGolden(name);
    for (int round = 0; round < 500; ++round) {
      std::string bytes = whole;
      const int edits = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < edits; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
      const std::string verdict = Verdict(bytes);
      ASSERT_TRUE(verdict == "OK" || verdict.rfind("IMAGE_", 0) == 0) << name << ": " << verdict;
    }
  }
}

}  // namespace
}  // namespace prefixd
