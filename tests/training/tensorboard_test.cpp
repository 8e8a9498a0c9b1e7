#include "training/tensorboard.h"

#include <cstring>
#include <map>
#include <vector>

#include "core/atomic_file.h"
#include "formats/checksum.h"
#include "tests/data/support.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

template <class T>
T at(const std::string& bytes, std::size_t offset) {
  T value;
  CHECK(offset + sizeof value <= bytes.size(), "the record is cut short");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::uint32_t masked(const std::string& bytes) {
  const std::uint32_t crc = crc32c(bytes.data(), bytes.size());
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/// The messages in a file of TFRecords, each length and content compared with its checksum.
std::vector<std::string> records(const std::string& path) {
  const std::string file = read_file(path);
  std::vector<std::string> messages;
  for (std::size_t i = 0; i < file.size();) {
    const auto length = at<std::uint64_t>(file, i);
    CHECK(at<std::uint32_t>(file, i + 8) == masked(file.substr(i, 8)), "length's checksum");
    messages.push_back(file.substr(i + 12, length));
    CHECK(at<std::uint32_t>(file, i + 12 + length) == masked(messages.back()), "data's checksum");
    i += 16 + length;
  }
  return messages;
}

/// A protobuf message by field number; numbers as their bits.
struct Message {
  std::multimap<unsigned, std::uint64_t> numbers;
  std::multimap<unsigned, std::string> bytes;

  explicit Message(const std::string& text) {
    std::size_t i = 0;
    const auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(text.at(i++));
        value |= std::uint64_t(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
    };
    while (i < text.size()) {
      const std::uint64_t key = varint();
      const auto field = unsigned(key >> 3);
      if ((key & 7) == 0) {
        numbers.emplace(field, varint());
      } else if ((key & 7) == 1) {
        numbers.emplace(field, at<std::uint64_t>(text, i));
        i += 8;
      } else if ((key & 7) == 5) {
        numbers.emplace(field, at<std::uint32_t>(text, i));
        i += 4;
      } else {
        CHECK((key & 7) == 2, "wire type ", key & 7);
        const std::uint64_t length = varint();
        bytes.emplace(field, text.substr(i, length));
        i += length;
      }
    }
  }
  std::uint64_t number(unsigned field) const { return numbers.find(field)->second; }
  std::string text(unsigned field) const { return bytes.find(field)->second; }
  Message message(unsigned field) const { return Message(text(field)); }
};

float as_float(std::uint64_t bits) {
  const auto low = std::uint32_t(bits);
  float value;
  std::memcpy(&value, &low, sizeof value);
  return value;
}

// Values of tensorboard.compat.tensorflow_stub.pywrap_tensorflow.masked_crc32c.
TEST(TensorBoard, FramesLikeTensorFlow) {
  const std::string record = tfrecord("lacuna");
  EXPECT_EQ(record.substr(0, 8), std::string("\6\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(at<std::uint32_t>(record, 8), 0x37d56973u);
  EXPECT_EQ(record.substr(12, 6), "lacuna");
  EXPECT_EQ(at<std::uint32_t>(record, 18), 0x99180805u);
  EXPECT_EQ(record.size(), 22u);
}

TEST(TensorBoard, AFileBeginsWithItsVersionAndASession) {
  const Folder folder;
  const TensorBoardLog log(folder / "", 41);
  ASSERT_EQ(folder.files().size(), 1u);
  EXPECT_TRUE(folder.files()[0].starts_with("events.out.tfevents."));
  const auto events = records(log.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(Message(events[0]).text(3), "brain.Event:2");
  // SessionLog START at step 42: what other files say of it and later is void.
  EXPECT_EQ(Message(events[1]).number(2), 42u);
  EXPECT_EQ(Message(events[1]).message(7).number(1), 1u);
}

TEST(TensorBoard, Scalars) {
  const Folder folder;
  TensorBoardLog log(folder / "", 0);
  const std::vector<Scalar> values = {{"train/loss", 1.5}, {"train/learning_rate", 1e-3}};
  log.scalars(1'000'000, values);
  const auto events = records(log.path());
  ASSERT_EQ(events.size(), 3u);
  const Message event(events[2]);
  EXPECT_EQ(event.number(2), 1'000'000u);
  const Message summary = event.message(5);
  ASSERT_EQ(summary.bytes.count(1), 2u);
  auto value = summary.bytes.find(1);
  EXPECT_EQ(Message(value->second).text(1), "train/loss");
  EXPECT_EQ(as_float(Message(value->second).number(2)), 1.5f);
  ++value;
  EXPECT_EQ(Message(value->second).text(1), "train/learning_rate");
  EXPECT_EQ(as_float(Message(value->second).number(2)), 1e-3f);
}

TEST(TensorBoard, Text) {
  const Folder folder;
  TensorBoardLog log(folder / "", 0);
  const std::string text = "In the beginning\n" + std::string(300, 'x');
  log.text(7, "sample", text);
  const Message value = Message(records(log.path()).at(2)).message(5).message(1);
  EXPECT_EQ(value.text(1), "sample");
  EXPECT_EQ(value.message(9).message(1).text(1), "text");  // metadata.plugin_data.plugin_name
  EXPECT_EQ(value.message(8).number(1), 7u);               // DT_STRING
  EXPECT_EQ(value.message(8).text(8), text);
}

TEST(TensorBoard, EachLogHasAFileOfItsOwn) {
  const Folder folder;
  { const TensorBoardLog first(folder / "", 0); }
  { const TensorBoardLog second(folder / "", 5); }
  EXPECT_EQ(folder.files().size(), 2u);
}

TEST(TensorBoard, AFullDiskIsAnError) {
  const Folder folder;
  TensorBoardLog log(folder / "", 0);
  const testing::FullDisk full(200);
  EXPECT_TRUE(contains(error_of([&] { log.text(1, "sample", std::string(400, 'x')); }),
                       "cannot write: File too large"));
}

}  // namespace
}  // namespace lacuna
