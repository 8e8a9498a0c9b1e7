#include "formats/checksum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string_view>

namespace lacuna {
namespace {

using Bytes = std::vector<unsigned char>;

std::uint32_t crc_of(const Bytes& b) { return crc32c(b.data(), b.size()); }
Bytes random_bytes(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  Bytes b(n);
  for (auto& byte : b) byte = static_cast<unsigned char>(random());
  return b;
}
/// The definition: polynomial division bit by bit.
std::uint32_t by_bits(const unsigned char* p, std::size_t n) {
  std::uint32_t crc = ~0u;
  for (std::size_t i = 0; i < n; ++i) {
    crc ^= p[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

TEST(Crc32c, the_values_of_rfc_3720) {  // appendix B.4
  EXPECT_EQ(crc_of(Bytes(32, 0x00)), 0x8a9136aau);
  EXPECT_EQ(crc_of(Bytes(32, 0xff)), 0x62a8ab43u);
  Bytes counting(32);
  std::iota(counting.begin(), counting.end(), 0);
  EXPECT_EQ(crc_of(counting), 0x46dd794eu);
  std::reverse(counting.begin(), counting.end());
  EXPECT_EQ(crc_of(counting), 0x113fdb5cu);
  constexpr std::string_view digits = "123456789";
  EXPECT_EQ(crc32c(digits.data(), digits.size()), 0xe3069283u);
  EXPECT_EQ(crc32c(nullptr, 0), 0u);
}

TEST(Crc32c, any_length_and_alignment) {
  const Bytes bytes = random_bytes(200, 1);
  for (std::size_t from = 0; from < 9; ++from)
    for (std::size_t n = 0; n + from <= 100; ++n)
      ASSERT_EQ(crc32c(&bytes[from], n), by_bits(&bytes[from], n)) << from << ' ' << n;
}

TEST(Crc32c, goes_on_and_combines) {
  const Bytes bytes = random_bytes(5000, 2);
  const std::uint32_t whole = crc_of(bytes);
  for (const std::size_t cut : {0, 1, 7, 8, 2500, 4999, 5000}) {
    const std::uint32_t a = crc32c(bytes.data(), cut);
    EXPECT_EQ(crc32c(bytes.data() + cut, bytes.size() - cut, a), whole);
    const std::uint32_t b = crc32c(bytes.data() + cut, bytes.size() - cut);
    EXPECT_EQ(crc32c_combine(a, b, std::int64_t(bytes.size() - cut)), whole);
  }
}

TEST(Crc32c, combines_lengths_beyond_32_bits) {
  // 2^40 zero bytes by doubling, once from 1 and once from 1,000 times as many in one step.
  const unsigned char zero = 0;
  std::uint32_t doubled = crc32c(&zero, 1);
  for (int i = 0; i < 40; ++i) doubled = crc32c_combine(doubled, doubled, std::int64_t{1} << i);
  const std::int64_t n = std::int64_t{1} << 40, part = 12'345'678'901;
  const auto zeros = [&](std::int64_t count) {  // by the bits of `count`, lowest first
    std::uint32_t sum = 0, power = crc32c(&zero, 1);
    for (std::int64_t bit = 1; bit <= count; bit <<= 1) {
      if (count & bit) sum = crc32c_combine(sum, power, bit);
      power = crc32c_combine(power, power, bit);
    }
    return sum;
  };
  EXPECT_EQ(crc32c_combine(zeros(part), zeros(n - part), n - part), doubled);
  EXPECT_EQ(zeros(100'000), crc_of(Bytes(100'000)));
}

TEST(Crc32cOfParts, does_not_depend_on_the_cut_or_the_order) {
  const Bytes bytes = random_bytes(1000, 3);
  std::mt19937 random(4);
  for (int round = 0; round < 100; ++round) {
    std::vector<ChecksumPart> parts;
    for (std::size_t from = 0; from < bytes.size();) {
      const std::size_t n = std::min<std::size_t>(random() % 200, bytes.size() - from);
      parts.push_back({std::int64_t(from), std::int64_t(n), crc32c(&bytes[from], n)});
      from += n;
    }
    std::shuffle(parts.begin(), parts.end(), random);
    std::uint32_t crc = 0;
    ASSERT_EQ(crc32c_of_parts(parts, 1000, crc), Coverage::exact);
    ASSERT_EQ(crc, crc_of(bytes));
  }
}

TEST(Crc32cOfParts, tells_gaps_and_overlaps) {
  std::uint32_t crc = 77;
  EXPECT_EQ(crc32c_of_parts({}, 10, crc), Coverage::gap);
  EXPECT_EQ(crc32c_of_parts({{1, 9, 5}}, 10, crc), Coverage::gap);
  EXPECT_EQ(crc32c_of_parts({{0, 9, 5}}, 10, crc), Coverage::gap);
  EXPECT_EQ(crc32c_of_parts({{0, 4, 5}, {5, 5, 5}}, 10, crc), Coverage::gap);
  EXPECT_EQ(crc32c_of_parts({{0, 6, 5}, {5, 5, 5}}, 10, crc), Coverage::overlap);
  EXPECT_EQ(crc32c_of_parts({{0, 10, 5}, {2, 3, 5}}, 10, crc), Coverage::overlap);
  EXPECT_EQ(crc32c_of_parts({{0, 10, 5}, {2, 3, 5}, {0, 2, 5}}, 12, crc), Coverage::gap);
  EXPECT_EQ(crc32c_of_parts({{0, 11, 5}}, 10, crc), Coverage::overlap);
  EXPECT_EQ(crc, 77u);  // untouched so far
  EXPECT_EQ(crc32c_of_parts({{0, 10, 5}, {4, 0, 9}}, 10, crc), Coverage::exact);
  EXPECT_EQ(crc, 5u);
  EXPECT_EQ(crc32c_of_parts({}, 0, crc), Coverage::exact);
  EXPECT_EQ(crc, 0u);
}

}  // namespace
}  // namespace lacuna
