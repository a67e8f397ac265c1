// Pictures that are wrong on purpose, through the whole daemon. tests/vision covers the decoder
// byte by byte; here every kind must come back as its code and leave the daemon unharmed.
#include <random>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/e2e/bad_request_fixture.h"

namespace prefixd::testing {
namespace {

using BadPicture = BadRequestTest;

constexpr char kPngMagic[] = "\x89PNG\r\n\x1a\n";

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

uint32_t Crc(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

std::string Chunk(const std::string& type, const std::string& data) {
  return BigEndian(static_cast<uint32_t>(data.size())) + type + data + BigEndian(Crc(type + data));
}

// A PNG that declares a size, with `rest` after its header.
std::string PngOf(uint32_t width, uint32_t height, const std::string& rest = "") {
  return std::string(kPngMagic, 8) +
         Chunk("IHDR", BigEndian(width) + BigEndian(height) + std::string("\x08\x02\0\0\0", 5)) +
         rest;
}

Edit WithPicture(const std::string& bytes) {
  return [bytes](v1::GenerateRequest* request) {
    request->mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_image()->set_data(
        bytes);
  };
}

std::string Golden(const std::string& name) {
  return *ReadFile(SourcePath("tests/golden/vision/" + name), 1 << 20);
}

TEST_F(BadPicture, TooFewOrTooManyBytes) {
  Check({"C1 empty", WithPicture("")});
  Check({"C1 three bytes", WithPicture("\xFF\xD8\xFF")});
  Check({"C1 too many", WithPicture(std::string((16 << 20) + 1, 'x'))});
}

TEST_F(BadPicture, NoiseAndBareMagic) {
  std::mt19937 random(7);
  std::string noise(1 << 20, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  Check({"C2 noise", WithPicture(noise)});
  Check({"C2 magic", WithPicture(std::string(kPngMagic, 8))});
}

TEST_F(BadPicture, OtherFormats) {
  for (const std::string& magic :
       {std::string("GIF89a"), std::string("BM"), std::string("II*\0", 4), std::string("8BPS"),
        std::string("\0\0\0\x0CjP  ", 8),
        std::string("\0\0\0\x18"
                    "ftypheic",
                    12),
        std::string("\0\0\0\x18"
                    "ftypavif",
                    12),
        std::string("<svg "), std::string("%PDF-1.7"), std::string("P6\n"),
        std::string("\0\0\1\0", 4), std::string("PK\3\4"),
        std::string("RIFF\x24\0\0\0WEBPVP8 ", 16)}) {
    Check({absl::StrCat("C3 ", magic.substr(0, 4)), WithPicture(magic + std::string(256, 'x'))});
  }
}

TEST_F(BadPicture, ThePictureKindIsItsContent) {
  v1::GenerateRequest request = Valid();
  request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_image()->set_mime_type(
      "image/jpeg");  // It is a PNG.
  EXPECT_TRUE(daemon_->Generate(request).status.ok());
}

TEST_F(BadPicture, TrailingBytes) {
  Check({"C5", WithPicture(Golden("444_baseline.jpg") + "PK\3\4" + std::string(15 << 20, 'z'))});
}

TEST_F(BadPicture, TruncatedFiles) {
  for (const std::string name : {"444_baseline.jpg", "420_progressive.jpg", "rgb8_33x17.png"}) {
    const std::string whole = Golden(name);
    for (size_t size = 8; size < whole.size(); size += whole.size() / 12 + 1) {
      Check({absl::StrCat("C6 ", name, " ", size), WithPicture(whole.substr(0, size))});
    }
  }
}

TEST_F(BadPicture, DeclaredSizes) {
  const std::string end = Chunk("IDAT", "") + Chunk("IEND", "");
  const struct {
    const char* id;
    uint32_t width, height;
  } sizes[] = {{"C7", 40000, 40000},  {"C8", 0x7FFFFFFF, 0x7FFFFFFF},
               {"C8 width", 0, 100},  {"C8 height", 100, 0},
               {"C9 1x1", 1, 1},      {"C9 tall", 1, 65535},
               {"C9 wide", 65535, 1}, {"C9 3x3", 3, 3},
               {"C10", 64250, 64250}, {"pixels", 16000, 16000}};
  for (const auto& size : sizes) {
    const uint64_t rss = daemon_->RssBytes();
    Check({size.id, WithPicture(PngOf(size.width, size.height, end))});
    EXPECT_LT(daemon_->RssBytes(), rss + (8 << 20)) << size.id;
  }
}

TEST_F(BadPicture, BadChunks) {
  Check({"C17 crc", WithPicture(std::string(kPngMagic, 8) + BigEndian(13) + "IHDR" + BigEndian(8) +
                                BigEndian(8) + std::string("\x08\x02\0\0\0", 5) + BigEndian(0))});
  Check({"C17 critical", WithPicture(PngOf(8, 8, Chunk("QQQQ", "x") + Chunk("IEND", "")))});
  std::string many;
  for (int i = 0; i < 100000; ++i) many += Chunk("teXt", "");
  Check({"C17 many", WithPicture(PngOf(8, 8, many))});
  Check({"C19 short", WithPicture(PngOf(8, 8, Chunk("IDAT", "x") + Chunk("IEND", "")))});
}

// A picture as it should be seen: 60 x 40, different in every corner.
constexpr int kWidth = 60, kHeight = 40;
std::string UprightPixel(int x, int y) {
  return {static_cast<char>(4 * x), static_cast<char>(6 * y), static_cast<char>(x < 20 ? 255 : 0)};
}

// zlib data without compression.
std::string Stored(const std::string& raw) {
  uint32_t a = 1, b = 0;
  for (const char c : raw) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  const auto size = static_cast<uint16_t>(raw.size());
  const std::string block = {'\x01', static_cast<char>(size), static_cast<char>(size >> 8),
                             static_cast<char>(~size), static_cast<char>(~size >> 8)};
  return "\x78\x01" + block + raw + BigEndian(b << 16 | a);
}

// The upright picture stored as a camera with that EXIF orientation stores it.
std::string StoredPng(int orientation, bool little_endian) {
  const int width = orientation <= 4 ? kWidth : kHeight;
  const int height = orientation <= 4 ? kHeight : kWidth;
  std::vector<std::string> stored(static_cast<size_t>(width * height));
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      int column = orientation <= 4 ? x : y, row = orientation <= 4 ? y : x;
      const bool flip_columns =
          orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
      const bool flip_rows =
          orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
      if (flip_columns) column = width - 1 - column;
      if (flip_rows) row = height - 1 - row;
      stored[static_cast<size_t>(row * width + column)] = UprightPixel(x, y);
    }
  }
  std::string raw;
  for (int row = 0; row < height; ++row) {
    raw += '\0';  // No filter.
    for (int column = 0; column < width; ++column)
      raw += stored[static_cast<size_t>(row * width + column)];
  }
  const auto value = static_cast<char>(orientation);
  const std::string little = std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18) +
                             value + std::string("\0\0\0\0\0\0\0", 7);
  const std::string big = std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19) +
                          value + std::string("\0\0\0\0\0\0", 6);
  return PngOf(
      static_cast<uint32_t>(width), static_cast<uint32_t>(height),
      Chunk("eXIf", little_endian ? little : big) + Chunk("IDAT", Stored(raw)) + Chunk("IEND", ""));
}

TEST_F(BadPicture, OrientationGivesTheAnswerOfTheUprightPicture) {
  const auto answer = [](int orientation, bool little_endian) {
    v1::GenerateRequest request = Ask("Describe the image.", StoredPng(orientation, little_endian));
    request.mutable_output()->set_logprobs(5);
    const Answer got = daemon_->Generate(request);
    EXPECT_TRUE(got.status.ok()) << orientation << got.status.error_message();
    return got.text() + got.logprob_bytes;
  };
  const std::string upright = answer(1, true);
  for (int orientation = 2; orientation <= 8; ++orientation) {
    for (const bool little_endian : {true, false}) {
      EXPECT_TRUE(answer(orientation, little_endian) == upright)
          << "C15a orientation " << orientation << (little_endian ? " II" : " MM");
    }
  }
}

TEST_F(BadPicture, EveryKindOfPngAndJpegIsSeen) {
  for (const char* name : {"grey.jpg", "cmyk.jpg", "420_progressive.jpg", "restart.jpg",
                           "grey1_33x17.png", "grey16_7x5.png", "palette4_trns_33x17.png",
                           "la8_33x17_adam7.png", "rgba8_33x17.png", "rgb16_33x17_adam7.png"}) {
    const Answer answer = daemon_->Generate(Ask("Describe the image.", Golden(name)));
    EXPECT_TRUE(answer.status.ok()) << name << ": " << answer.status.error_message();
  }
  ExpectUnharmed("kinds");
}

TEST_F(BadPicture, ABadPictureAmongGoodOnesIsNamed) {
  v1::GenerateRequest request = Valid();
  auto* message = request.mutable_chat()->mutable_messages(0);
  message->add_parts()->mutable_image()->set_data("GIF89a not a picture");
  const Answer answer = daemon_->Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.reason(), "IMAGE_FORMAT_UNSUPPORTED");
  EXPECT_TRUE(absl::StrContains(answer.status.error_message(), "image 1"))
      << answer.status.error_message();
}

}  // namespace
}  // namespace prefixd::testing
