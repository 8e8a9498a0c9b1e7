// Headers that lie: whatever a file claims, the reader refuses it in one line or gives memory that
// is there.
#include "formats/safetensors.h"
#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::Tensors;

std::string with_length(std::uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), 8) + rest;
}

/// What the reader says of a file with this header and this many bytes of data.
std::string verdict(const std::string& header, std::size_t data = 24) {
  const Folder folder;
  const std::string path =
      folder.write("a.safetensors", with_length(header.size(), header + std::string(data, 'd')));
  const std::string message = error_of([&] { SafetensorsFile file(path); });
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 400u) << message;
  EXPECT_TRUE(message.empty() || message.starts_with(path + ": ")) << message;
  return message.empty() ? "" : message.substr(path.size() + 2);
}
std::string entry(const std::string& name, const std::string& shape, int begin, int end,
                  const std::string& dtype = "F32") {
  return str('"', name, R"(":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":[)",
             begin, ',', end, "]}");
}

TEST(SafetensorsDamage, the_header_used_here_is_sound) {
  EXPECT_EQ(verdict("{" + entry("a", "[2]", 0, 8) + "," + entry("b", "[2,2]", 8, 24) + "}"), "");
  EXPECT_EQ(verdict("{" + entry("b", "[2,2]", 8, 24) + "," + entry("a", "[2]", 0, 8) + "}   "), "");
}

TEST(SafetensorsDamage, offsets) {
  const std::string a = entry("a", "[2]", 0, 8);
  EXPECT_EQ(verdict("{" + a + "," + entry("b", "[4]", 4, 20) + "}", 20),
            "tensor 'b' begins at byte 4 and overlaps the one before, which ends at 8");
  EXPECT_EQ(verdict("{" + a + "," + entry("b", "[2]", 0, 8) + "}", 8),
            "tensor 'b' begins at byte 0 and overlaps the one before, which ends at 8");
  EXPECT_EQ(verdict("{" + a + "," + entry("b", "[3]", 12, 24) + "}"),
            "tensor 'b' begins at byte 12 and leaves a gap after 8");
  EXPECT_EQ(verdict("{" + entry("a", "[2]", 4, 12) + "}", 12),
            "tensor 'a' begins at byte 4 and leaves a gap after 0");
  EXPECT_EQ(verdict("{" + a + "}"), "holds 24 bytes of data; its tensors take 8");
  EXPECT_EQ(verdict("{}"), "holds 24 bytes of data; its tensors take 0");
  EXPECT_EQ(verdict("{" + entry("a", "[7]", 0, 28) + "}"),
            "tensor 'a': data_offsets [0,28] lie outside the 24 bytes of data; the file is "
            "truncated or damaged");
  EXPECT_EQ(verdict("{" + entry("a", "[2]", 8, 0) + "}"),
            "tensor 'a': data_offsets [8,0] lie outside the 24 bytes of data; the file is "
            "truncated or damaged");
  EXPECT_EQ(verdict("{" + entry("a", "[3]", 0, 8) + "}", 8),
            "tensor 'a': data_offsets [0,8] span 8 bytes; [3] of f32 is 12");
  EXPECT_EQ(verdict("{" + entry("a", "[2]", -8, 0) + "}"),
            "tensor 'a': data_offsets: -8 is not a natural number");
}

TEST(SafetensorsDamage, shapes) {
  EXPECT_EQ(verdict("{" + entry("a", "[-2]", 0, 8) + "}"),
            "tensor 'a': shape: -2 is not a natural number");
  EXPECT_EQ(verdict("{" + entry("a", "[2.0]", 0, 8) + "}"),
            "tensor 'a': shape: 2.0 is not a natural number");
  EXPECT_EQ(verdict("{" + entry("a", "[1,1,1,1,2]", 0, 8) + "}"),
            "tensor 'a': shape [1,1,1,1,2] is not a list of at most 4 extents");
  EXPECT_EQ(verdict("{" + entry("a", "2", 0, 8) + "}"),
            "tensor 'a': shape 2 is not a list of at most 4 extents");
  // 2^62 elements of 4 bytes: 0 in 64 bits.
  EXPECT_EQ(verdict("{" + entry("a", "[4611686018427387904]", 0, 0) + "}", 0),
            "tensor 'a': shape [4611686018427387904] is too large");
  EXPECT_EQ(verdict("{" + entry("a", "[2147483648,2147483648,4]", 0, 0) + "}", 0),
            "tensor 'a': shape [2147483648,2147483648,4] is too large");
  EXPECT_EQ(verdict("{" + entry("a", "[4294967296,4294967296]", 0, 8) + "}"),
            "tensor 'a': shape [4294967296,4294967296] is too large");
  EXPECT_EQ(verdict("{" + entry("a", "[99999999999999999999999]", 0, 8) + "}"),
            "tensor 'a': shape: 9.999999999999999e+22 is not a natural number");
}

TEST(SafetensorsDamage, fields) {
  EXPECT_EQ(verdict("{" + entry("a", "[2]", 0, 8, "F8_E4M3") + "}"),
            "tensor 'a': dtype F8_E4M3 is none of F32, F64, BF16, F16, I32, I64, U8");
  EXPECT_EQ(verdict(R"({"a":{"shape":[2],"data_offsets":[0,8]}})"), "tensor 'a': has no dtype");
  EXPECT_EQ(verdict(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})"), "tensor 'a': has no shape");
  EXPECT_EQ(verdict(R"({"a":{"dtype":"F32","shape":[2]}})"), "tensor 'a': has no data_offsets");
  EXPECT_EQ(verdict(R"({"a":{"dtype":5,"shape":[2],"data_offsets":[0,8]}})"),
            "tensor 'a': dtype is not a string");
  EXPECT_EQ(verdict(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})"),
            "tensor 'a': data_offsets [0] are not two numbers");
  EXPECT_EQ(verdict(R"({"a":5})"), "tensor 'a': has no dtype");
  EXPECT_EQ(verdict(R"({"__metadata__":[]})", 0), "__metadata__ is not a JSON object");
  EXPECT_EQ(verdict(R"({"__metadata__":{"a":1}})", 0), "__metadata__ 'a' is not a string");
  const std::string a = entry("a", "[2]", 0, 8);
  EXPECT_EQ(verdict("{" + a + "," + a + "}", 8), "damaged header: has the key \"a\" twice");
  EXPECT_EQ(verdict("{" + entry("line\\none", "[3]", 0, 8) + "}", 8),
            "tensor 'line one': data_offsets [0,8] span 8 bytes; [3] of f32 is 12");
}

TEST(SafetensorsDamage, what_is_not_json) {
  for (const char* header : {"[]", "3", "\"a\"", "null"})
    EXPECT_TRUE(verdict(header).starts_with("damaged header: is not a JSON object but ")) << header;
  for (const char* header : {"", "{", "{\"a\"", "{\"\xff\xfe\":1}", "{'a':1}", "{}{}",
                             "{\"a\":NaN}", "\xef\xbb", "{\"a\nb\":1}"})
    EXPECT_TRUE(contains(verdict(header), "damaged header: malformed JSON, ")) << header;
  EXPECT_TRUE(contains(verdict("{\"" + std::string(100'000, 'a')), "malformed JSON, "));
  EXPECT_TRUE(contains(verdict(std::string("{}\0", 3)), "malformed JSON, "));
}

TEST(SafetensorsDamage, json_so_deep_that_walking_it_would_exhaust_the_stack) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 1'000'000; ++i) deep += open;
    EXPECT_EQ(verdict("{\"a\":" + deep), "damaged header: is nested more than 100 deep");
  }
  EXPECT_EQ(
      verdict("{" + entry("a", "[" + std::string(90, '[') + std::string(90, ']') + "]", 0, 8) +
              "}"),
      "tensor 'a': shape: " + std::string(90, '[') + std::string(30, ']') +
          "... is not a natural number");
}

TEST(SafetensorsDamage, lengths) {
  const Folder folder;
  const auto mistake = [&](const std::string& content) {
    const std::string path = folder.write("a.safetensors", content);
    const std::string message = error_of([&] { SafetensorsFile file(path); });
    return message.substr(std::min(message.size(), path.size() + 2));
  };
  EXPECT_EQ(mistake(""), "is empty");
  EXPECT_EQ(mistake("1234567"), "is no safetensors file: 7 bytes long");
  EXPECT_EQ(mistake(with_length(~0ull, "{}")),
            "is no safetensors file: a header of 18446744073709551615 bytes");
  EXPECT_EQ(mistake(with_length(100'000'001, "{}")),
            "is no safetensors file: a header of 100000001 bytes");
  EXPECT_EQ(mistake(with_length(100'000'000, "{}")),
            "is truncated: its header has 100000000 bytes, the file 10");
  EXPECT_EQ(mistake(with_length(3, "{}")), "is truncated: its header has 3 bytes, the file 10");
  EXPECT_EQ(mistake(with_length(0, "")), mistake(with_length(0, "{}")));
  EXPECT_TRUE(contains(mistake(with_length(0, "{}")), "malformed JSON"));
  EXPECT_TRUE(contains(error_of([&] { SafetensorsFile file(folder / "none"); }),
                       "none: No such file or directory"));
  EXPECT_TRUE(
      contains(error_of([&] { SafetensorsFile file(folder / "."); }), "is a folder, not a file"));
}

TEST(SafetensorsDamage, every_truncation_is_noticed) {
  const Folder folder;
  Tensors own;
  const std::string path = folder / "a.safetensors";
  write_safetensors(path, {{"a", own.random({20})}, {"b", own.random({3, 5}, DType::f16)}});
  for (auto length = std::int64_t(fs::file_size(path)) - 1; length >= 0; --length) {
    fs::resize_file(path, std::uintmax_t(length));
    const std::string message = error_of([&] { SafetensorsFile file(path); });
    ASSERT_TRUE(message.starts_with(path + ": ")) << length << ' ' << message;
  }
}

TEST(SafetensorsDamage, flipped_bits_of_a_header_are_refused_or_give_memory_that_is_there) {
  const Folder folder;
  Tensors own;
  const std::string path = folder / "a.safetensors";
  write_safetensors(path, {{"a", own.random({4})}, {"b", own.random({3, 2}, DType::f16)}},
                    {{"k", "v"}});
  std::ifstream in(path, std::ios::binary);
  const std::string original((std::istreambuf_iterator<char>(in)), {});
  const std::size_t header = original.size() - 28;  // 4 f32 and 6 f16
  for (std::size_t bit = 0; bit < 8 * header; bit += 7) {
    std::string content = original;
    content[bit / 8] = char(content[bit / 8] ^ (1 << bit % 8));
    folder.write("b.safetensors", content);
    try {
      const SafetensorsFile file(folder / "b.safetensors");
      unsigned sum = 0;
      std::int64_t bytes = 0;
      for (const std::string& name : file.names()) {
        const Tensor t = file.view(name);
        bytes += t.bytes();
        for (std::int64_t i = 0; i < t.bytes(); ++i) sum += static_cast<unsigned char*>(t.data)[i];
      }
      EXPECT_EQ(bytes, 28) << "bit " << bit;
      EXPECT_GT(sum, 0u);
    } catch (const Error& e) {
      EXPECT_TRUE(contains(e.what(), "b.safetensors: ")) << e.what();
    }
  }
}

}  // namespace
}  // namespace lacuna
