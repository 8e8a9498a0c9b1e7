#include "formats/shared_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "core/packed_bytes.h"

namespace lacuna {
namespace {

template <class T>
std::string packed(const std::vector<T>& values) {
  std::string bytes;
  pack(bytes, std::span<const T>(values));
  return bytes;
}

}  // namespace

SharedFile::SharedFile(const std::filesystem::path& path, const Attributes& attributes,
                       std::vector<Dataset> datasets, ProcessGroup& team)
    : team_(team), path_(path), datasets_(std::move(datasets)) {
  for (const Dataset& d : datasets_) sums_.emplace_back(d.shape.count() * size_of(d.dtype));
  if (team_.rank() == 0) lay_out(attributes);
  places_ = PackedReader(team_.gather(packed(places_))[0]).array<std::int64_t>();
  partial_ = team_.gather(partial_.string())[0];
  descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CLOEXEC);
  CHECK(descriptor_ >= 0, path_.string(), ": cannot write ", partial_.string(), ": ",
        std::strerror(errno), team_.rank() == 0 ? "" : " (do all machines see this folder?)");
}

SharedFile::~SharedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SharedFile::lay_out(const Attributes& attributes) {
  atomic_.emplace(path_);
  partial_ = atomic_->partial();
  file_.emplace(partial_);
  for (const auto& [name, value] : attributes) file_->set_attribute(name, value);
  for (const Dataset& d : datasets_) places_.push_back(file_->reserve(d.name, d.shape, d.dtype));
  file_->flush();
}

void SharedFile::put(const Dataset& dataset, const void* data, std::int64_t bytes,
                     std::int64_t at) const {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(descriptor_, from, std::size_t(bytes), off_t(at));
    if (put < 0 && errno == EINTR) continue;
    CHECK(put >= 0, path_.string(), ": ", dataset.name, ": cannot write: ", std::strerror(errno));
    from += put;
    at += put;
    bytes -= put;
  }
}

void SharedFile::write(std::size_t dataset, std::int64_t row, std::int64_t col, const Tensor& box) {
  const Dataset& d = datasets_.at(dataset);
  const Tensor whole(nullptr, d.shape, d.dtype);
  CHECK(box.dtype == d.dtype && box.place == Place::host && box.contiguous() && row >= 0 &&
            col >= 0 && row + box.rows() <= whole.rows() && col + box.cols() <= whole.cols(),
        path_.string(), ": ", d.name, " ", whole, ": ", box, " at row ", row, ", column ", col,
        " is no part of it");
  if (box.count() == 0) return;
  const std::int64_t size = size_of(d.dtype);
  // Whole rows lie one behind the other in the file too.
  const std::int64_t runs = box.cols() == whole.cols() ? 1 : box.rows(), bytes = box.bytes() / runs;
  for (std::int64_t i = 0; i < runs; ++i) {
    const char* data = static_cast<const char*>(box.data) + i * bytes;
    const std::int64_t offset = ((row + i) * whole.cols() + col) * size;
    put(d, data, bytes, places_[dataset] + offset);
    sums_[dataset].add(offset, data, bytes);
  }
}

void SharedFile::flush() {
  CHECK(::fsync(descriptor_) == 0, path_.string(), ": cannot write: ", std::strerror(errno));
  const int closed = ::close(std::exchange(descriptor_, -1));
  CHECK(closed == 0, path_.string(), ": cannot write: ", std::strerror(errno));
}

void SharedFile::commit() {
  if (descriptor_ >= 0) flush();
  const std::vector<std::string> gathered = team_.gather(packed(sums_));
  if (team_.rank() == 0) {
    std::vector<std::vector<PartialChecksum>> of_all;
    for (const std::string& theirs : gathered)
      of_all.push_back(PackedReader(theirs).array<PartialChecksum>());
    for (std::size_t i = 0; i < datasets_.size(); ++i) {
      PartialChecksum sum(datasets_[i].shape.count() * size_of(datasets_[i].dtype));
      for (const std::vector<PartialChecksum>& theirs : of_all) sum.add(theirs.at(i));
      CHECK(sum.complete(), path_.string(), ": ", datasets_[i].name,
            ": not every element was written once");
      file_->seal(datasets_[i].name, sum.crc());
    }
    file_->close();
    atomic_->commit();
  }
  team_.gather("");  // it is there, for all
}

}  // namespace lacuna
