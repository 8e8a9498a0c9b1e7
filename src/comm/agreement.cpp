#include <algorithm>
#include <sstream>
#include <vector>

#include "comm/communicator.h"

namespace lacuna {
namespace {

/// 64-bit FNV-1a: enough to tell texts apart that were not made to deceive.
std::int64_t hash_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  return std::int64_t(hash);
}

/// "'seed = 1' and 'seed = 2'": the first lines that differ.
std::string first_difference(const std::string& a, const std::string& b) {
  std::istringstream lines_a(a), lines_b(b);
  std::string x, y;
  for (;;) {
    const bool more_a = bool(std::getline(lines_a, x)), more_b = bool(std::getline(lines_b, y));
    if (!more_a) x.clear();
    if (!more_b) y.clear();
    if (x != y || (!more_a && !more_b)) return str("'", x, "' and '", y, "'");
  }
}

}  // namespace

std::string shared_text(Communicator& group, const std::string& text, int root) {
  auto length = std::int64_t(text.size());
  group.broadcast(Tensor(&length, Shape{1}), root);
  group.wait();
  std::string copy = group.rank() == root ? text : std::string(std::size_t(length), '\0');
  group.broadcast(Tensor(copy.data(), Shape{length}, DType::u8), root);
  group.wait();
  return copy;
}

std::vector<std::string> gathered_texts(Communicator& group, const std::string& text) {
  const auto ranks = std::size_t(group.size());
  std::vector<std::int64_t> lengths(ranks);
  auto length = std::int64_t(text.size());
  group.all_gather(Tensor(lengths.data(), {group.size()}), Tensor(&length, {1}));
  group.wait();
  // Collectives want the same of all: the longest.
  const std::int64_t most = *std::max_element(lengths.begin(), lengths.end());
  if (most == 0) return std::vector<std::string>(ranks);
  std::string padded = text, all(ranks * std::size_t(most), '\0');
  padded.resize(std::size_t(most));
  group.all_gather(Tensor(all.data(), {std::int64_t(all.size())}, DType::u8),
                   Tensor(padded.data(), {most}, DType::u8));
  group.wait();
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < ranks; ++r)
    texts.push_back(all.substr(r * std::size_t(most), std::size_t(lengths[r])));
  return texts;
}

double reduced(Communicator& group, double value, Reduce operation) {
  group.all_reduce(Tensor(&value, Shape{1}), operation);
  group.wait();
  return value;
}

bool any_rank(Communicator& group, bool here) {
  return reduced(group, here ? 1 : 0, Reduce::max) > 0;
}

void check_same_on_all_ranks(Communicator& group, const std::string& text,
                             const std::string& what) {
  std::vector<std::int64_t> hashes(std::size_t(group.size()));
  std::int64_t mine = hash_of(text);
  group.all_gather(Tensor(hashes.data(), Shape{group.size()}), Tensor(&mine, Shape{1}));
  group.wait();
  const auto other = std::find_if(hashes.begin(), hashes.end(),
                                  [&](std::int64_t hash) { return hash != hashes[0]; });
  if (other == hashes.end()) return;
  const int rank = int(other - hashes.begin());
  const auto many = std::count_if(hashes.begin(), hashes.end(),
                                  [&](std::int64_t hash) { return hash != hashes[0]; });
  const std::string first = shared_text(group, text, 0), second = shared_text(group, text, rank);
  fail_usage(str(what, " must be the same on every rank, but rank 0 and rank ", rank, " have ",
                 first_difference(first, second), many > 1 ? " (and more ranks differ)" : ""));
}

}  // namespace lacuna
