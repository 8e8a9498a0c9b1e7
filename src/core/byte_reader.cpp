#include "core/byte_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/input_file.h"

namespace lacuna {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 16;

}  // namespace

ByteReader::ByteReader(const std::string& path)
    : name_(path),
      descriptor_((check_data_source(path), open(path.c_str(), O_RDONLY | O_CLOEXEC))),
      owned_(true) {
  CHECK(descriptor_ >= 0, path, ": ", std::strerror(errno));
}

ByteReader::ByteReader(int descriptor, std::string name)
    : name_(std::move(name)), descriptor_(descriptor), owned_(false) {}

ByteReader::~ByteReader() {
  if (owned_) close(descriptor_);
}

std::string_view ByteReader::ahead(std::size_t bytes) {
  while (!at_end_ && buffer_.size() - begin_ < bytes) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t had = buffer_.size();
    buffer_.resize(std::max(bytes, had + kReadBytes));
    const ssize_t got = read(descriptor_, buffer_.data() + had, buffer_.size() - had);
    const int reason = errno;
    buffer_.resize(had + std::size_t(std::max<ssize_t>(0, got)));
    if (got < 0 && reason == EINTR) continue;
    CHECK(got >= 0, name_, ": cannot read: ", std::strerror(reason));
    at_end_ = got == 0;
  }
  return std::string_view(buffer_).substr(begin_);
}

std::string ByteReader::take(std::size_t bytes) {
  std::string taken = buffer_.substr(begin_, bytes);
  skip(taken.size());
  return taken;
}

void ByteReader::skip(std::size_t bytes) {
  begin_ += bytes;
  position_ += std::int64_t(bytes);
}

}  // namespace lacuna
