#include "formats/hdf5_bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace lacuna::h5 {
namespace {

// Every piece of metadata is read once or twice.
constexpr std::uint64_t kReadings = 4;

// With this macro, which fuzzers define, a changed byte gets past the checksums to the code behind.
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
constexpr bool kCompare = false;
#else
constexpr bool kCompare = true;
#endif

}  // namespace

std::uint32_t metadata_checksum(View bytes) {
  std::uint32_t a = 0xdeadbeef + std::uint32_t(bytes.size()), b = a, c = a;
  const auto add = [&](const std::uint8_t* words) {
    std::array<std::uint32_t, 3> word;
    std::memcpy(word.data(), words, sizeof word);
    a += word[0];
    b += word[1];
    c += word[2];
  };
  if (bytes.empty()) return c;
  for (; bytes.size() > 12; bytes = bytes.subspan(12)) {
    add(bytes.data());
    a = (a - c) ^ std::rotl(c, 4), c += b;
    b = (b - a) ^ std::rotl(a, 6), a += c;
    c = (c - b) ^ std::rotl(b, 8), b += a;
    a = (a - c) ^ std::rotl(c, 16), c += b;
    b = (b - a) ^ std::rotl(a, 19), a += c;
    c = (c - b) ^ std::rotl(b, 4), b += a;
  }
  std::array<std::uint8_t, 12> rest{};
  std::memcpy(rest.data(), bytes.data(), bytes.size());
  add(rest.data());
  c = (c ^ b) - std::rotl(b, 14);
  a = (a ^ c) - std::rotl(c, 11);
  b = (b ^ a) - std::rotl(a, 25);
  c = (c ^ b) - std::rotl(b, 16);
  a = (a ^ c) - std::rotl(c, 4);
  b = (b ^ a) - std::rotl(a, 14);
  return (c ^ b) - std::rotl(b, 24);
}

FileBytes::FileBytes(const std::filesystem::path& path) : name_(path.string()) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const int reason = errno;
  struct stat status {};
  const bool known = descriptor_ >= 0 && ::fstat(descriptor_, &status) == 0;
  try {
    CHECK(descriptor_ >= 0, name_,
          reason == ENOENT ? ": " : ": cannot read: ", std::strerror(reason));
    CHECK(known, name_, ": cannot read: ", std::strerror(errno));
    CHECK(!S_ISDIR(status.st_mode), name_, ": is a folder, not a file");
    CHECK(S_ISREG(status.st_mode), name_, ": is not a regular file");
    CHECK_INTACT(status.st_size > 0, name_, ": is empty");
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw;
  }
  size_ = std::uint64_t(status.st_size);
  allowance_ = kReadings * size_ + 4096;
}

FileBytes::~FileBytes() { ::close(descriptor_); }

void FileBytes::end_at(std::uint64_t end) {
  CHECK_INTACT(end <= size_, name_, ": is truncated: it has ", size_, " of ", end, " bytes");
  size_ = end;
}

void FileBytes::damaged(const std::string& what) const {
  throw DamagedFile(name_ + ": damaged: " + what);
}

void FileBytes::spend(std::uint64_t bytes) {
  if (bytes > allowance_) damaged("its structures refer to the same bytes again and again");
  allowance_ -= bytes;
}

Block FileBytes::metadata(std::uint64_t address, std::uint64_t bytes, const char* what) {
  if (!holds(address, bytes))
    damaged(str(what, " at byte ", address, ", of ", bytes, " bytes, does not lie in the file of ",
                size_));
  spend(bytes);
  Block block(bytes);
  read(block.data(), address, bytes);
  return block;
}

Block FileBytes::checksummed(std::uint64_t address, std::uint64_t bytes, const char* what) {
  Block block = metadata(address, bytes, what);
  if (bytes < 4) damaged(str(what, " at byte ", address, " is too short"));
  std::uint32_t stored = 0;
  std::memcpy(&stored, block.data() + bytes - 4, 4);
  block.resize(bytes - 4);
  compare(block, stored, address, what);
  return block;
}

void FileBytes::compare(View bytes, std::uint32_t stored, std::uint64_t address,
                        const char* what) const {
  if (kCompare && metadata_checksum(bytes) != stored)
    damaged(str(what, " at byte ", address, " does not match its checksum"));
}

void FileBytes::read(void* to, std::uint64_t address, std::uint64_t bytes) const {
  auto* out = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, bytes, off_t(address));
    if (got < 0 && errno == EINTR) continue;
    CHECK(got >= 0, name_, ": cannot read: ", std::strerror(errno));
    CHECK_INTACT(got > 0, name_, ": is truncated: it ends at byte ", address);
    out += got;
    address += std::uint64_t(got);
    bytes -= std::uint64_t(got);
  }
}

void Cursor::damaged(const std::string& why) const {
  file_.damaged(str(what_, " at byte ", address_, " ", why));
}

View Cursor::take(std::uint64_t bytes) {
  if (bytes > left()) damaged("ends too early");
  const View taken = bytes_.subspan(at_, bytes);
  at_ += bytes;
  return taken;
}

std::uint64_t Cursor::uint(std::uint64_t bytes) {
  std::uint64_t value = 0;
  const View taken = take(bytes);
  for (std::size_t i = 0; i < taken.size(); ++i) value |= std::uint64_t{taken[i]} << 8 * i;
  return value;
}

void Cursor::expect(const char* signature) {
  const View found = take(std::strlen(signature));
  if (std::memcmp(found.data(), signature, found.size()) != 0)
    damaged(str("does not begin with ", signature));
}

void Cursor::expect_version(std::uint8_t version) {
  if (const int found = u8(); found != version)
    damaged(str("is of version ", found, ", not ", int(version)));
}

}  // namespace lacuna::h5
