#include "formats/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/input_file.h"
#include "formats/damage.h"

namespace lacuna {

MappedFile::MappedFile(const std::filesystem::path& path) : name_(path.string()) {
  const InputFile file(path);
  bytes_ = std::uint64_t(file.bytes());
  CHECK_INTACT(bytes_ > 0, name_, ": is empty");
  void* memory = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  CHECK(memory != MAP_FAILED, name_, ": cannot map: ", std::strerror(errno));
  data_ = static_cast<char*>(memory);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void MappedFile::expect_random_reads() const {
  if (data_) (void)::madvise(data_, bytes_, MADV_RANDOM);
}

void MappedFile::prefetch(const void* from, std::uint64_t bytes) {
  const auto page = std::uintptr_t(::sysconf(_SC_PAGESIZE)),
             begin = reinterpret_cast<std::uintptr_t>(from) / page * page,
             end = reinterpret_cast<std::uintptr_t>(from) + bytes;
  (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

void MappedFile::release(const void* from, std::uint64_t bytes) {
  const auto page = std::uintptr_t(::sysconf(_SC_PAGESIZE)),
             begin = (reinterpret_cast<std::uintptr_t>(from) + page - 1) / page * page,
             end = (reinterpret_cast<std::uintptr_t>(from) + bytes) / page * page;
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace lacuna
