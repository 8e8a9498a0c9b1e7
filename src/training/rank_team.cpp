#include "training/rank_team.h"

#include <algorithm>
#include <cstdint>

namespace lacuna {

std::vector<std::string> RankTeam::gather(const std::string& mine) {
  const auto ranks = std::size_t(size());
  std::vector<std::int64_t> lengths(ranks);
  auto length = std::int64_t(mine.size());
  group_.all_gather(Tensor(lengths.data(), {size()}), Tensor(&length, {1}));
  group_.join();
  // Collectives want the same of all: the longest.
  const std::int64_t most = *std::max_element(lengths.begin(), lengths.end());
  if (most == 0) return std::vector<std::string>(ranks);
  std::string padded = mine, all(ranks * std::size_t(most), '\0');
  padded.resize(std::size_t(most));
  group_.all_gather(Tensor(all.data(), {std::int64_t(all.size())}, DType::u8),
                    Tensor(padded.data(), {most}, DType::u8));
  group_.join();
  std::vector<std::string> parts;
  for (std::size_t r = 0; r < ranks; ++r)
    parts.push_back(all.substr(r * std::size_t(most), std::size_t(lengths[r])));
  return parts;
}

}  // namespace lacuna
