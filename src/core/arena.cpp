#include "core/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <map>

#include "core/machine.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr std::int64_t kAlignment = 64;

class HostMemory final : public Memory {
 public:
  Place place() const override { return Place::host; }
  void* allocate(std::int64_t bytes) override {
    // The kernel would grant it, and end the process when the pages are touched.
    const std::int64_t held = held_, usable = usable_memory();
    CHECK(bytes <= usable - held, "out of memory: ", human_bytes(bytes), " are needed",
          held > 0 ? str(" beside ", human_bytes(held), " held already") : "", "; ",
          human_bytes(usable), " can be used here",
          processes_here() > 1 ? str(" by each of ", processes_here(), " processes") : "");
    void* p = mmap(nullptr, std::size_t(bytes), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED, "out of memory: ", human_bytes(bytes), " could not be allocated");
    if (bytes >= (1 << 22)) (void)madvise(p, std::size_t(bytes), MADV_HUGEPAGE);
    held_ += bytes;
    return p;
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    (void)munmap(memory, std::size_t(bytes));
    held_ -= bytes;
  }
  std::int64_t available() const override { return usable_memory() - held_; }

 private:
  std::atomic<std::int64_t> held_ = 0;
};

/// Of the entries laid out one behind the other, the first that does not end within `room` bytes.
std::string first_beyond(const std::vector<Plan::Entry>& entries, std::int64_t room) {
  for (const Plan::Entry& e : entries)
    if (!e.alias && e.offset + e.shape.count() * size_of(e.dtype) > room)
      return str("; the first to find no room is ", e.name, " ", e.shape, " ", e.dtype);
  return "";
}

std::string kind_of(const std::string& name) { return name.substr(0, name.find('/')); }

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

Slot Plan::add(std::string name, Shape shape, DType dtype) {
  entries_.push_back({std::move(name), shape, dtype, bytes_, false});
  const std::int64_t size = shape.count() * size_of(dtype);
  bytes_ += (size + kAlignment - 1) / kAlignment * kAlignment;
  return {int(entries_.size()) - 1};
}

void Plan::align(std::int64_t bytes) {
  CHECK(bytes > 0 && bytes % kAlignment == 0, "plan: alignment to ", bytes, " bytes; it must be a ",
        "multiple of ", kAlignment);
  bytes_ = (bytes_ + bytes - 1) / bytes * bytes;
}

Slot Plan::alias(Slot base, std::string name, Shape shape, DType dtype) {
  const Entry& from = (*this)[base];
  CHECK(shape.count() * size_of(dtype) <= from.shape.count() * size_of(from.dtype), "plan: ", name,
        " ", shape, " does not fit into ", from.name, " ", from.shape);
  entries_.push_back({std::move(name), shape, dtype, from.offset, true});
  return {int(entries_.size()) - 1};
}

const Plan::Entry& Plan::operator[](Slot s) const {
  CHECK(s.index >= 0 && s.index < int(entries_.size()), "plan: no slot ", s.index);
  return entries_[std::size_t(s.index)];
}

std::string Plan::table() const {
  std::map<std::string, std::int64_t> kinds;
  std::vector<const Entry*> largest;
  for (const Entry& e : entries_) {
    if (e.alias) continue;
    kinds[kind_of(e.name)] += e.shape.count() * size_of(e.dtype);
    largest.push_back(&e);
  }
  std::stable_sort(largest.begin(), largest.end(), [](const Entry* a, const Entry* b) {
    return a->shape.count() * size_of(a->dtype) > b->shape.count() * size_of(b->dtype);
  });
  std::string out;
  for (const auto& [kind, bytes] : kinds) out += str("  ", kind, ": ", human_bytes(bytes), "\n");
  out += "  largest:\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(8, largest.size()); ++i) {
    const Entry& e = *largest[i];
    out += str("    ", e.name, " ", e.shape, " ", e.dtype, ": ",
               human_bytes(e.shape.count() * size_of(e.dtype)), "\n");
  }
  return out + str("  total: ", human_bytes(bytes_), "\n");
}

Arena::Arena(Memory& memory, const Plan& plan) : memory_(memory), plan_(plan), data_(nullptr) {
  if (plan_.bytes() == 0) return;
  try {
    data_ = static_cast<char*>(memory_.allocate(plan_.bytes()));
  } catch (const Error& e) {
    fail(str(e.what(), first_beyond(plan_.entries(), memory_.available()), "; wanted:\n",
             plan_.table()));
  }
}

Arena::~Arena() {
  if (data_) memory_.release(data_, plan_.bytes());
}

Tensor Arena::operator[](Slot s) const {
  const Plan::Entry& e = plan_[s];
  return Tensor(data_ + e.offset, e.shape, e.dtype, memory_.place());
}

}  // namespace lacuna
