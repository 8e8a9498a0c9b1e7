#include <cstring>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/pieces.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 256, kPack = 4;
constexpr std::int64_t kWord = sizeof(std::int32_t), kBlock = std::int64_t{kThreads} * kPack;

/// A tensor whose words lie in the transfer, and the first of the blocks that copy it.
struct Entry {
  std::int32_t* to;
  std::int64_t from;                // bytes from the transfer's begin
  std::int64_t count, first_block;  // words
  std::int64_t packed;              // whether `to` is aligned to packs
};

__global__ void upload_kernel(const std::byte* transfer, int count) {
  const Entry e = piece_of_block(reinterpret_cast<const Entry*>(transfer), count);
  const auto* from = reinterpret_cast<const std::int32_t*>(transfer + e.from);
  for_my_packs<kThreads, 1, kPack>(e, [&](auto width, std::int64_t i) {
    constexpr int n = decltype(width)::value;
    store_pack<n>(e.to + i, load_pack<n>(from + i));
  });
}

}  // namespace

// The table of the tensors, then what they get.
void CudaOps::upload(const std::vector<Upload>& uploads) {
  const Checks c = checks("upload");
  check_upload(c, uploads);
  std::vector<Entry> entries;
  std::vector<const void*> sources;
  std::int64_t bytes = PinnedMemory::aligned(std::int64_t(uploads.size() * sizeof(Entry))),
               blocks = 0;
  for (const auto& [to, from] : uploads) {
    if (to.count() == 0) continue;
    entries.push_back({static_cast<std::int32_t*>(to.data), bytes, to.bytes() / kWord, blocks,
                       reinterpret_cast<std::uintptr_t>(to.data) % (kPack * kWord) == 0});
    sources.push_back(from.data);
    bytes += PinnedMemory::aligned(to.bytes());
    blocks += divided_up(to.bytes() / kWord, kBlock);
  }
  if (entries.empty()) return;
  const StagingRing::Transfer transfer = device_.staging().transfer(bytes);
  std::memcpy(transfer.host, entries.data(), entries.size() * sizeof(Entry));
  for (std::size_t i = 0; i < entries.size(); ++i)
    std::memcpy(transfer.host + entries[i].from, sources[i], std::size_t(entries[i].count * kWord));
  device_.staging().send(c.op(), transfer);
  launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, upload_kernel, transfer.device,
         int(entries.size()));
}

}  // namespace lacuna
