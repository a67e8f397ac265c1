// Pickles written by hand: what is refused, and the limits.
#include "engine/weights/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

std::string Text(const std::string& text) {
  return absl::StrCat("\x8c", std::string(1, static_cast<char>(text.size())), text);
}

std::string Byte(int value) { return std::string(1, static_cast<char>(value)); }

// A float tensor of `count` elements in storage "0".
std::string Vector(int count) {
  return absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n((", Text("storage"),
                      "ctorch\nFloatStorage\n", Text("0"), Text("cpu"), "K", Byte(count), "tQK",
                      std::string(1, '\0'), "K", Byte(count), "\x85K\x01\x85\x89",
                      "ccollections\nOrderedDict\n)RtR");
}

std::string Pickle(const std::string& body) { return absl::StrCat("\x80\x02", body, "."); }

absl::Status Read(const std::string& body) { return ReadPickledTensors(Pickle(body)).status(); }

void ExpectRefused(const std::string& body, absl::StatusCode code, const char* message) {
  const absl::Status status = Read(body);
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

constexpr absl::StatusCode kInvalidPickle = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kUnsupportedPickle = absl::StatusCode::kUnimplemented;

TEST(Pickle, ReadsATensor) {
  const auto tensors = ReadPickledTensors(Pickle(absl::StrCat("}", Text("w"), Vector(3), "s")));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 1u);
  EXPECT_EQ((*tensors)[0].name, "w");
  EXPECT_EQ((*tensors)[0].dtype, "F32");
  EXPECT_EQ((*tensors)[0].storage, "0");
  EXPECT_EQ((*tensors)[0].shape, std::vector<int64_t>{3});
  EXPECT_EQ((*tensors)[0].strides, std::vector<uint64_t>{1});
}

TEST(Pickle, RefusesOpcodesThatACheckpointDoesNotHave) {
  // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, GET, INT, STRING, BINBYTES, BYTEARRAY8,
  // NEXT_BUFFER.
  constexpr int kOpcodes[] = {'i', 'o', 0x81, 0x92, 0x82, 'P', 'g', 'I',
                              'S', 'B', 0x96, 0x97, 'd',  'l', '2', 0xff};
  for (const int opcode : kOpcodes) {
    ExpectRefused(
        Byte(opcode) + "abc\n", kUnsupportedPickle,
        absl::StrCat("opcode 0x", absl::Hex(opcode, absl::kZeroPad2), " at byte 2").c_str());
  }
}

TEST(Pickle, RefusesOtherGlobals) {
  for (const char* global : {"os\nsystem", "posix\nsystem", "builtins\neval", "subprocess\nPopen",
                             "torch\nload", "torch._utils\n_rebuild_tensor", "torch.hub\nload",
                             "collections\nOrderedDict.__init__", "\n"}) {
    ExpectRefused(absl::StrCat("c", global, "\n)R"), kUnsupportedPickle, "global ");
  }
  ExpectRefused(absl::StrCat(Text("os"), Text("system"), "\x93"), kUnsupportedPickle,
                "global os.system");
}

TEST(Pickle, RefusesWhatIsNoPickle) {
  EXPECT_EQ(ReadPickledTensors("").status().code(), kInvalidPickle);
  EXPECT_EQ(ReadPickledTensors("\x80\x01N.").status().code(), kInvalidPickle);
  EXPECT_EQ(ReadPickledTensors("\x80\x06N.").status().code(), kInvalidPickle);
  EXPECT_EQ(ReadPickledTensors("\x80\x02N").status().code(), kInvalidPickle);
  ExpectRefused("", kInvalidPickle, "the stack is empty");
  ExpectRefused("NN", kInvalidPickle, "left on the stack");
  ExpectRefused("t", kInvalidPickle, "no mark");
  ExpectRefused("(0", kInvalidPickle, "the stack is empty");
  ExpectRefused("Na", kInvalidPickle, "the stack is empty");
  ExpectRefused("NNa", kInvalidPickle, "no list");
  ExpectRefused("](Nu", kInvalidPickle, "no dictionary");
  ExpectRefused("}(Nu", kInvalidPickle, "no dictionary");
  ExpectRefused("]}b", kInvalidPickle, "no dictionary");
  ExpectRefused("N)R", kInvalidPickle, "no global");
  ExpectRefused("ctorch\nFloatStorage\n)R", kInvalidPickle, "a storage type is called");
  ExpectRefused("ctorch._utils\n_rebuild_tensor_v2\n)R", kInvalidPickle, "0 arguments");
  ExpectRefused("ctorch._utils\n_rebuild_parameter\n(NNNtR", kInvalidPickle, "not given a tensor");
  ExpectRefused("NQ", kInvalidPickle, "five parts");
  ExpectRefused("(NNNNNtQ", kInvalidPickle, "not of a storage");
  ExpectRefused("h\x05", kInvalidPickle, "nothing is remembered as 5");
  ExpectRefused(
      "\x8a\x09"
      "123456789",
      kInvalidPickle, "9 bytes");
  ExpectRefused(std::string("X\xff\xff\xff\x7f", 5), kInvalidPickle, "2147483647 bytes");
  ExpectRefused(absl::StrCat("}N", Vector(2), "s"), kInvalidPickle,
                "neither a string nor an integer");
}

TEST(Pickle, StopsAtValuesThatHoldThemselves) {
  // d = {}; d["a"] = d
  ExpectRefused(absl::StrCat("}q", Byte(1), Text("a"), "h", Byte(1), "s"), kInvalidPickle, "deep");
  // Lists of two references to the list before: 2^40 ways to the innermost.
  std::string bomb = "]q" + Byte(0);
  for (int i = 0; i < 40; ++i) {
    bomb += absl::StrCat("0](h", Byte(i), "h", Byte(i), "eq", Byte(i + 1));
  }
  ExpectRefused(bomb, kInvalidPickle, "deep");
  std::string wide = "](" + std::string(2000, 'N') + "eq" + Byte(0);
  for (int i = 0; i < 3; ++i) {
    wide += "0](";
    for (int j = 0; j < 200; ++j) wide += "h" + Byte(i);
    wide += "eq" + Byte(i + 1);
  }
  ExpectRefused(wide, kInvalidPickle, "too many values");
}

TEST(Pickle, HoldsItsLimits) {
  ExpectRefused(std::string(kMaxPickleValues + 1, 'N'), kInvalidPickle, "more than 1048576 values");
  std::string again = "Nq" + Byte(0);
  for (size_t i = 0; i < kMaxPickleValues; ++i) again += "h" + Byte(0);
  ExpectRefused(again, kInvalidPickle, "values on the stack");
  EXPECT_EQ(ReadPickledTensors(std::string(kMaxPickleBytes + 1, 'N')).status().code(),
            kInvalidPickle);
  std::string deep;
  for (size_t i = 0; i <= kMaxPickleDepth; ++i) deep += "]";
  ExpectRefused(deep + Vector(1) + std::string(kMaxPickleDepth + 1, 'a'), kInvalidPickle, "deep");
  ExpectRefused(Vector(1), kInvalidPickle, "the name is empty");
}

}  // namespace
}  // namespace prefixd
