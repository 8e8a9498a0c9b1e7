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

class FileSource final : public ByteSource {
 public:
  FileSource(int descriptor, bool owned, std::string name)
      : descriptor_(descriptor), owned_(owned), name_(std::move(name)) {}
  ~FileSource() override {
    if (owned_) close(descriptor_);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::size_t read(char* to, std::size_t most) override {
    while (true) {
      const ssize_t got = ::read(descriptor_, to, most);
      if (got < 0 && errno == EINTR) continue;
      CHECK(got >= 0, name_, ": cannot read: ", std::strerror(errno));
      return std::size_t(got);
    }
  }

 private:
  const int descriptor_;
  const bool owned_;
  const std::string name_;
};

std::unique_ptr<ByteSource> open_source(const std::string& path) {
  check_data_source(path);
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(descriptor >= 0, path, ": ", std::strerror(errno));
  return std::make_unique<FileSource>(descriptor, true, path);
}

}  // namespace

ByteReader::ByteReader(std::unique_ptr<ByteSource> source, std::string name)
    : name_(std::move(name)), source_(std::move(source)) {}

ByteReader::ByteReader(const std::string& path) : ByteReader(open_source(path), path) {}

ByteReader::ByteReader(int descriptor, std::string name)
    : name_(std::move(name)), source_(std::make_unique<FileSource>(descriptor, false, name_)) {}

std::string_view ByteReader::ahead(std::size_t bytes) {
  while (!at_end_ && buffer_.size() - begin_ < bytes) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t had = buffer_.size();
    buffer_.resize(std::max(bytes, had + kReadBytes));
    std::size_t got = 0;
    try {
      got = source_->read(buffer_.data() + had, buffer_.size() - had);
    } catch (...) {
      buffer_.resize(had);
      throw;
    }
    buffer_.resize(had + got);
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
