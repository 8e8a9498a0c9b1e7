// Files cut short and bits flipped: whatever lies on the disk, a reader says that it is damaged or
// gives exactly what was written.
#include <fcntl.h>
#include <unistd.h>

#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::Folder;
using testing::SampleCheckpoint;

/// Bytes of a file, changed in place.
class Bytes {
 public:
  explicit Bytes(const std::string& path) : fd_(::open(path.c_str(), O_RDWR)) {
    CHECK(fd_ >= 0, path, ": cannot open");
  }
  ~Bytes() { ::close(fd_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  void flip(std::int64_t bit) {
    unsigned char byte = 0;
    CHECK(::pread(fd_, &byte, 1, bit / 8) == 1, "cannot read");
    byte ^= static_cast<unsigned char>(1 << bit % 8);
    CHECK(::pwrite(fd_, &byte, 1, bit / 8) == 1, "cannot write");
  }

 private:
  int fd_;
};

TEST(Damage, every_truncation_of_a_checkpoint_is_noticed) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  const SampleCheckpoint sample;
  sample.save(path);
  const auto whole = std::int64_t(fs::file_size(path));
  for (std::int64_t length = whole - 1; length >= 0;
       length = length < 600 ? length - 1 : length - 101) {
    fs::resize_file(path, std::uintmax_t(length));
    const std::string message = error_of([&] { CheckpointReader(path).verify(); });
    ASSERT_TRUE(message.starts_with(path + ": ")) << length << " of " << whole << ": " << message;
    ASSERT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Damage, every_flipped_bit_of_a_checkpoint_is_noticed_or_harmless) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  const SampleCheckpoint sample;
  sample.save(path);
  const std::int64_t bits = 8 * std::int64_t(fs::file_size(path));
  // A prime step, so that all bits of a byte and all bytes of a word have their turn. 1: all bits.
  const char* chosen = std::getenv("LACUNA_TEST_EVERY_NTH_BIT");
  const std::int64_t step = chosen ? std::atoll(chosen) : 1009;
  Bytes bytes(path);
  std::int64_t noticed = 0, harmless = 0;
  for (std::int64_t bit = 0; bit < bits; bit += step) {
    bytes.flip(bit);
    try {
      const CheckpointReader reader(path);
      ASSERT_TRUE(sample.matches(reader)) << "bit " << bit << " passed unnoticed";
      reader.verify();
      ++harmless;
    } catch (const Error& e) {
      ASSERT_TRUE(std::string(e.what()).starts_with(path + ": ")) << e.what();
      ++noticed;
    }
    bytes.flip(bit);
  }
  EXPECT_GT(noticed, 9 * harmless);  // nearly all of the file is data or checksummed
  EXPECT_TRUE(sample.matches(CheckpointReader(path)));  // the flips were undone
}

TEST(Damage, is_found_by_the_one_part_that_has_the_tensor) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  testing::Tensors own;
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 5; ++i) {
    const std::vector<float> values(std::size_t(10 + 20 * i), 1.5f + float(i));
    tensors.push_back({str("w", i), own.of<float>({std::int64_t(values.size())}, values)});
  }
  save_checkpoint(path, {}, testing::model_only(tensors));
  std::ifstream in(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(in)), {});
  for (const NamedTensor& w : tensors) {
    const std::string_view values(static_cast<const char*>(w.tensor.data),
                                  std::size_t(w.tensor.bytes()));
    const auto place = content.find(values);
    ASSERT_NE(place, std::string::npos);
    Bytes(path).flip(8 * std::int64_t(place));
    for (const int parts : {1, 3, 7}) {
      int found = 0;
      for (int part = 0; part < parts; ++part) {
        const std::string error = error_of([&] { CheckpointReader(path).verify(part, parts); });
        if (error.empty()) continue;
        EXPECT_TRUE(testing::contains(error, w.name));
        ++found;
      }
      EXPECT_EQ(found, 1) << w.name << " in " << parts;
    }
    Bytes(path).flip(8 * std::int64_t(place));
  }
}

TEST(Damage, a_flipped_bit_of_the_weights_names_the_tensor) {
  const Folder folder;
  const std::string path = folder / "a.h5";
  testing::Tensors own;
  const Tensor ones = own.of<float>({1000}, std::vector<float>(1000, 1.0f));
  save_checkpoint(path, {}, testing::model_only({{"good", own.random({9})}, {"w", ones}}));
  std::ifstream in(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(in)), {});
  const auto place = content.find(std::string(static_cast<char*>(ones.data), 4000));
  ASSERT_NE(place, std::string::npos);
  Bytes(path).flip(8 * std::int64_t(place) + 12'345);
  const CheckpointReader reader(path);
  EXPECT_EQ(error_of([&] { reader.verify(); }),
            path + ": /model/w: damaged: its content does not match its checksum");
  EXPECT_EQ(error_of([&] { reader.read("model", "w", own.zeros({1000})); }),
            path + ": /model/w: damaged: its content does not match its checksum");
  EXPECT_EQ(error_of([&] { reader.read("model", "good", own.zeros({9})); }), "");
}

TEST(Damage, bytes_behind_the_end_do_no_harm) {
  const Folder folder;
  const SampleCheckpoint sample;
  sample.save(folder / "a.h5");
  std::ofstream(folder / "a.h5", std::ios::app | std::ios::binary) << std::string(100, 'x');
  EXPECT_TRUE(sample.matches(CheckpointReader(folder / "a.h5")));
}

}  // namespace
}  // namespace lacuna
